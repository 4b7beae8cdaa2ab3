"""A rebuild over a log in memory: the shell's part of it, which can be interrupted between two transactions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.engine import names
from app.engine.language.table import Table
from app.engine.processing.checkpoint import Record
from app.engine.processing.offset_note import OffsetNote
from app.engine.processing.source import Limits
from app.engine.processing.sources import sources
from app.engine.rebuild import Earlier, Rebuild
from app.engine.state.definition import DEFINITION_KEY
from app.engine.state.sizes import Sizes
from app.engine.state.store import StoreWrite
from app.engine.state.table_partition import META_KEY, Change
from app.events.catalogue import Catalogue
from app.testing.memory_log import MemoryLog
from app.testing.memory_store import MemoryStore
from tests.engine.sales import Sale, SaleWindow


class Interrupted(Exception):
    """The rebuild was killed."""


class Rebuilding:
    """Rebuilds a table of sales; no worker runs meanwhile. transactions_max: it is killed after so many."""

    def __init__(
        self,
        log: MemoryLog,
        table: Table,
        sizes: Sizes,
        *,
        batches_max: int | None = None,
        transactions_max: int | None = None,
    ) -> None:
        self._log = log
        self._table = table
        self._sizes = sizes
        self._store = MemoryStore()
        self._batches_max = batches_max
        self._left = transactions_max

    def run(self, starts: Mapping[int, int] | None = None) -> None:
        """Do it. Interrupted: it was killed on the way."""
        log, table = self._log, self._table
        earlier = {number: self._earlier(number) for number in range(log.partitions)}
        notes = {
            number: log.committed[(table.topic, number)]
            for number in range(log.partitions)
            if (table.topic, number) in log.committed
        }
        times = {
            number: time
            for number, (_, text) in notes.items()
            if (time := OffsetNote.decode(text).stream_times.get(table.name)) is not None
        }
        ends = {number: offset for number, (offset, _) in notes.items()}
        source = sources("test", Catalogue([Sale, SaleWindow]), [table], {}, Limits())[table.topic]
        rebuild = Rebuild(table, source, earlier, ends, times, sizes=self._sizes)
        self._commit(rebuild.marks(), {})
        self._commit(rebuild.clearings(), {})
        positions = {number: (starts or {}).get(number, 0) for number in ends}
        while reading := [number for number in ends if positions[number] < ends[number]]:
            for number in reading:
                fetch = log.fetch(
                    table.topic, number, positions[number], batches_max=self._batches_max
                )
                assert fetch is not None
                for batch in rebuild.decode(fetch):
                    rebuild.take(batch)
                positions[number] = fetch.end
                if fetch.end >= ends[number]:
                    rebuild.ended(number)
            self._checkpoint(rebuild)
        rebuild.finish()
        while rebuild.left:
            self._checkpoint(rebuild)
        offsets: dict[tuple[str, int], tuple[int, str]] = {}
        here = table.topic
        if not table.aligned:
            here = names.repartition_topic("test", table.name)
            offsets = {(here, number): (log.end(here, number), "") for number in earlier}
            for number, (offset, text) in notes.items():
                note = OffsetNote.decode(text)
                time = rebuild.stream_time(number)
                told = {} if time is None else {table.name: time}
                note = OffsetNote("rebuild", {**note.stream_times, **told})
                offsets[(table.topic, number)] = (offset, note.encode())
        known = {**log.committed, **offsets}
        at = {
            f"{here}/{number}": offset
            for (topic, number), (offset, _) in known.items()
            if topic == here
        }
        self._commit(rebuild.last(at), offsets)

    def _earlier(self, number: int) -> Earlier:
        live: dict[bytes, bytes] = {}
        for record in self._log.read(names.changelog_topic("test", self._table.name), number):
            assert record.key is not None
            live.pop(record.key, None)
            if record.value is not None:
                live[record.key] = record.value
        return Earlier.of(live, live.get(META_KEY), live.get(DEFINITION_KEY))

    def _checkpoint(self, rebuild: Rebuild) -> None:
        changes = rebuild.checkpoint(self._store.read)
        self._commit(changes, {})
        rebuild.apply(changes)

    def _commit(
        self, changes: Iterable[Change], offsets: Mapping[tuple[str, int], tuple[int, str]]
    ) -> None:
        if self._left is not None:
            if not self._left:
                raise Interrupted
            self._left -= 1
        made = list(changes)
        topic = names.changelog_topic("test", self._table.name)
        self._log.commit(
            [
                Record(topic, key, value, partition=change.partition)
                for change in made
                for key, value in {**dict.fromkeys(change.deletes), **change.puts}.items()
            ],
            offsets,
        )
        self._store.write(
            StoreWrite(self._table.name, change.partition, change.puts, change.deletes)
            for change in made
        )

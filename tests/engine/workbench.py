"""A worker over a log in memory, and what can happen to it between two events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.engine import names
from app.engine.language.table import Table
from app.engine.processing.checkpoint import Record
from app.engine.processing.processor import Each
from app.engine.processing.work import Work
from app.engine.state.sizes import Sizes
from app.engine.state.store import Store
from app.events.catalogue import Catalogue
from app.testing.memory_log import MemoryLog
from app.testing.memory_store import MemoryStore
from app.testing.memory_worker import MemoryWorker
from tests.engine.oracle import Entry
from tests.engine.sales import Sale, SaleWindow

HEADERS = [("ce_type", b"test.sale")]


@dataclass
class Workbench:
    """One worker, its log, its store, and the fetches that it has computed and not yet staged."""

    tables: Sequence[Table]
    partitions: int = 1
    sizes: Sizes = field(default_factory=Sizes)
    store: Store = field(default_factory=MemoryStore)
    batch_records_max: int | None = None
    each: Each = map

    def __post_init__(self) -> None:
        self.log = MemoryLog(self.partitions, batch_records_max=self.batch_records_max)
        self.sent: list[list[Entry]] = [[] for _ in range(self.partitions)]
        self.computed: list[Work] = []
        self.watermarks: dict[int, int] = {}
        self.worker = self._new_worker()

    def send(self, partition: int, entries: Sequence[Entry]) -> None:
        """Append events, each in a record batch of its own."""
        for time, sale in entries:
            self.sent[partition].append((time, sale))
            value = msgspec.json.encode(sale)
            self.log.append([Record("sales", None, value, HEADERS, partition, time)])

    def read(self, number: int, batches: int, finish: bool = True) -> None:
        """Compute a fetch of one of the partitions; stage all that is computed, or leave it for later."""
        here = self.worker.partitions[number % len(self.worker.partitions)]
        work = self.worker.compute(*here, batches_max=batches)
        if work is not None:
            self.computed.append(work)
        if finish:
            self.finish()

    def finish(self) -> None:
        """Stage what is computed; it is dropped if it was computed before a rewind."""
        for work in self.computed:
            self.worker.finish(work)
        self.computed.clear()

    def checkpoint(self) -> None:
        """Publish what is staged."""
        if self.worker.processor.dirty:
            self.worker.checkpoint()

    def abort(self) -> None:
        """Have the transaction of what is staged aborted; what is computed is dropped later on."""
        self.worker.abort()

    def restart(self, lose_store: bool) -> None:
        """Kill the worker and start another one."""
        self.worker.close()
        self.computed.clear()
        if lose_store:
            for table in self.tables:
                for partition in range(self.partitions):
                    self.store.clear(table.name, partition)
        self.worker = self._new_worker()

    def hand_over(self, number: int) -> None:
        """A partition leaves, and comes back; what is computed of the others stays."""
        self.worker.hand_over(number % self.partitions)

    def die_after_commit(self) -> None:
        """Commit a checkpoint, die before the store has it, and start again."""
        if self.worker.processor.dirty:
            self.worker.checkpoint(write_store=False)
        self.restart(False)

    def compact(self) -> None:
        """Let Kafka compact the changelogs."""
        for table in self.tables:
            for partition in range(self.partitions):
                self.log.compact(names.changelog_topic("test", table.name), partition)

    def creep(self) -> None:
        """Read on as slowly as can be: a checkpoint after each record batch."""
        self.finish()
        for here in self.worker.partitions:
            while self.worker.step(*here, batches_max=1):
                self.worker.checkpoint()

    def settle(self) -> None:
        """Read and publish all there is."""
        self.finish()
        self.worker.settle()

    def close(self) -> None:
        """End the worker."""
        self.worker.close()

    def derived(self, table: Table) -> dict[str, dict[str, Any]]:
        """The derived events of a table by id. AssertionError: an id comes twice."""
        found: dict[str, dict[str, Any]] = {}
        for record in self.log.read("sale-windows"):
            identity = record.header("ce_id")
            assert identity is not None
            if record.header("ce_source") == f"test/{table.name}":
                assert identity not in found, f"{identity} was emitted twice"
                event = msgspec.json.decode(record.value or b"", type=SaleWindow)
                found[identity] = {name: getattr(event, name) for name in table.row_schema}
        return found

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """All rows that a reader sees."""
        reader = self.worker.reader
        return [
            row
            for start in reader.windows(table.name)
            for row in reader.window(table.name, start).to_dicts()
        ]

    def late(self, table: Table) -> list[tuple[int, int]]:
        """Partition and offset of each record on the table's late topic."""
        return [
            (
                int(record.header("headrace_partition") or -1),
                int(record.header("headrace_offset") or -1),
            )
            for record in self.log.read(names.late_topic("test", table.name))
        ]

    def live_changelog(self, table: Table, partition: int) -> dict[bytes, bytes]:
        """What a replay of a changelog ends with."""
        live: dict[bytes, bytes] = {}
        for record in self.log.read(names.changelog_topic("test", table.name), partition):
            assert record.key is not None
            live.pop(record.key, None)
            if record.value is not None:
                live[record.key] = record.value
        return live

    def _new_worker(self) -> MemoryWorker:
        catalogue = Catalogue([Sale, SaleWindow])
        return MemoryWorker(
            self.log, self.store, catalogue, self.tables, sizes=self.sizes, each=self.each
        )


def counted(rows: Sequence[dict[str, Any]]) -> Counter[tuple[tuple[str, Any], ...]]:
    """The rows in a form in which order does not matter."""
    return Counter(tuple(sorted(row.items())) for row in rows)

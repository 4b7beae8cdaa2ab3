"""The engine of one worker: fetches in, checkpoints out. No I/O, no clock, no threads of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

import polars as pl

from app.codecs.record_batch import Fetch, parse
from app.engine import names
from app.engine.aggregates import EVENTS
from app.engine.language.batch import Batch, Emission, Update
from app.engine.language.table import Table, by_name
from app.engine.processing.checkpoint import Checkpoint, Record
from app.engine.processing.dead_letter import late_event, late_rows
from app.engine.processing.intake import Intake
from app.engine.processing.repartition import Receiver, Sender
from app.engine.processing.source import Limits
from app.engine.processing.sources import sources
from app.engine.processing.window_close import window_emission
from app.engine.processing.work import Reading, ReadSegments, Staged, TopicPartition, Work
from app.engine.state.sizes import Budget, Sizes
from app.engine.state.store import StateRefusedError
from app.engine.state.table_partition import Change, TablePartition
from app.engine.state.watermark import Progress
from app.events.catalogue import Catalogue
from app.events.event import Event

Each = Callable[
    [Callable[[TopicPartition], Change | None], Iterable[TopicPartition]], Iterable[Change | None]
]
"""`map`, or what does the same in several threads."""


class Processor:
    """Runs tables over the partitions that this worker owns.

    The shell drives it: `compute` turns a fetch into work (may run in another thread, one at a time),
    `stage` takes the work, `freeze` cuts a checkpoint between two works, `prepare` makes it (in another
    thread), and `commit` makes it the state once its transaction has committed. To abort, `reset` to the
    committed state and read again from the committed positions.

    Partitions come by `add`. To give one up, `close` it, finish or abort what is staged, and `remove` it.
    """

    def __init__(
        self,
        app_id: str,
        catalogue: Catalogue,
        tables: Iterable[Table],
        agents: Mapping[str, type[Event]] | None = None,
        *,
        limits: Limits | None = None,
        sizes: Sizes | None = None,
    ) -> None:
        self.app_id = app_id
        self.tables = by_name(tables)
        self._sizes = sizes or Sizes()
        self._sources = sources(
            app_id, catalogue, self.tables.values(), agents or {}, limits or Limits()
        )
        self._repartition = {
            names.repartition_topic(app_id, table.name): (table.name, Receiver(table))
            for table in self.tables.values()
            if not table.aligned
        }
        self._partition_counts: dict[str, int] = {}
        self._partitions: dict[TopicPartition, TablePartition] = {}
        self._committed_times: dict[TopicPartition, Progress] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._closed: frozenset[TopicPartition] = frozenset()
        self._readings: dict[TopicPartition, Reading] = {}
        self._senders: dict[TopicPartition, Sender] = {}
        self._staged = Staged()
        self._turns = itertools.count()

    @property
    def topics(self) -> list[str]:
        """The topics to read: those of the events that somebody wants, and of partial aggregates."""
        return [*self._sources, *self._repartition]

    def position(self, topic: str, partition: int) -> int | None:
        """The next offset that the engine takes of a partition; None: it takes nothing of it."""
        here = (topic, partition)
        return None if here in self._closed else self._positions.get(here)

    def add(
        self,
        positions: Mapping[TopicPartition, int],
        partitions: Mapping[TopicPartition, TablePartition],
        stream_times: Mapping[TopicPartition, Mapping[str, int]],
    ) -> None:
        """Take over the committed state of partitions; those that are there go on meanwhile.

        positions: next offset per (topic, partition). partitions: state per (table, partition).
        stream_times: per (topic, partition), the time (ms) that was committed for each table that is
        repartitioned.
        """
        for (_, number), times in stream_times.items():
            for name, time in times.items():
                self._committed_times[(name, number)] = Progress(time)
        for (name, number), item in partitions.items():
            if item.table.aligned:
                self._committed_times[(name, number)] = Progress(item.stream_time(number))
        # a new one: readers may be looking at it
        self._partitions = dict(sorted({**self._partitions, **partitions}.items()))
        self._closed -= positions.keys()
        self._positions.update(positions)
        self._readings.update(_readings(positions))

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        """Take no more work of these partitions; what is staged of them stays staged."""
        self._closed |= frozenset(partitions)

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that have been closed, and of which nothing is staged any more."""
        gone = set(partitions)
        owned = {key for key in self._partitions if self._read_here(*key) in gone}
        self._partitions = {key: item for key, item in self._partitions.items() if key not in owned}
        for here in gone:
            self._positions.pop(here, None)
            self._readings.pop(here, None)
            for table in self.tables.values():
                if table.topic == here[0]:
                    key = (table.name, here[1])
                    self._committed_times.pop(key, None)
                    self._senders.pop(key, None)
        self._closed -= gone

    def _read_here(self, table: str, partition: int) -> TopicPartition:
        return (self.read_topic(self.tables[table]), partition)

    def reset(self, positions: Mapping[TopicPartition, int]) -> None:
        """Drop all that is not committed, and go on from these positions."""
        self._positions = dict(positions)
        self._readings = _readings(positions)
        self._senders = {}
        self._staged = Staged()

    def table_partition(self, table: str, partition: int) -> TablePartition:
        """A fresh, empty state for one partition of a table, to be loaded and assigned."""
        item = self.tables[table]
        senders = (partition,) if item.aligned else range(self._partition_counts[item.topic])
        count = self._partition_counts[self.read_topic(item)]
        return TablePartition(item, partition, senders, count, self._sizes)

    def refuse_new(self, partitions: Iterable[TopicPartition]) -> None:
        """StateRefusedError: one of these (table, partition)s was not there when the worker started."""
        for name, number in partitions:
            topic = self.read_topic(self.tables[name])
            if number >= self._partition_counts[topic]:
                raise StateRefusedError(
                    f"topic {topic} has got partitions, and had {self._partition_counts[topic]}: table {name!r} would "
                    "find its keys in other partitions than before; give it a new name, under which it counts from "
                    "then on"
                )

    def set_partition_counts(self, partition_counts: Mapping[str, int]) -> None:
        """Say how many partitions each topic has."""
        self._partition_counts = dict(partition_counts)

    def compute(self, fetch: Fetch) -> Work | None:
        """Decode a fetch and reduce it to partials; None: it does not follow on what was computed before.

        Raises CorruptRecordBatch when the bytes are damaged; the fetch may then be computed again.
        """
        here = (fetch.topic, fetch.partition)
        reading = None if here in self._closed else self._readings.get(here)
        if reading is None or reading.next_offset != fetch.start:
            return None
        work = Work(fetch, reading)
        if fetch.topic in self._repartition:
            self._receive(work)
        else:
            self._read(work)
        reading.next_offset = fetch.end
        return work

    def _read(self, work: Work) -> None:
        fetch = work.fetch
        work.decoded = decoded = self._sources[fetch.topic].decode(fetch)
        work.records += decoded.dead_letters
        work.dead_letters = len(decoded.dead_letters)
        work.events = len(decoded.records.offset)
        for batch in decoded.batches:
            for table in self.tables.values():
                if table.source is batch.cls and table.fed_by is None:
                    self._take(work, table, batch.for_all())

    def _receive(self, work: Work) -> None:
        table, receiver = self._repartition[work.fetch.topic]
        for sender, progress, partials in receiver.received(parse(work.fetch, check_crc=True)):
            work.received.append((table, sender, progress, partials))

    def _take(self, work: Work, table: Table, batch: Batch) -> None:
        if not len(batch):
            return
        taken = self._intake(work, table).take(batch.frame)
        work.taken.append((table.name, taken))
        if taken.late is None:
            return
        assert work.decoded is not None
        work.late_events[table.name] = work.late_events.get(table.name, 0) + len(taken.late)
        topic = names.late_topic(self.app_id, table.name)
        for number in taken.late.to_list():
            work.records.append(
                late_event(
                    topic,
                    work.decoded.records,
                    int(batch.rows[number]),
                    source=(batch.topic, batch.partition),
                    table=table.name,
                    stream_time=taken.stream_time,
                )
            )

    def _intake(self, work: Work, table: Table) -> Intake:
        intakes = work.reading.intakes
        if table.name not in intakes:
            committed = self._committed_times.get((table.name, work.fetch.partition))
            intakes[table.name] = Intake(table, committed.time if committed else None)
        return intakes[table.name]

    def stage(
        self,
        work: Work,
        emissions: Iterable[Emission] = (),
        dead_letters: Iterable[Record] = (),
        updates: Iterable[Update] = (),
    ) -> bool:
        """Take the work and what the agents made of it; False: it does not follow on, and is dropped."""
        fetch, staged = work.fetch, self._staged
        here = (fetch.topic, fetch.partition)
        if work.reading is not self._readings.get(here) or self.position(*here) != fetch.start:
            return False
        self._positions[here] = staged.positions[here] = fetch.end
        self._feed(work, updates)
        for name, taken in work.taken:
            staged.take((name, fetch.partition), taken)
        for name, sender, progress, partials in work.received:
            staged.receive((name, fetch.partition), sender, progress, partials)
        letters = list(dead_letters)
        checkpoint = staged.checkpoint
        checkpoint.records += [*work.records, *letters]
        checkpoint.dead_letters += work.dead_letters + len(letters)
        made = list(emissions)
        checkpoint.emissions += made
        staged.bytes += sum(int(emission.frame.estimated_size()) for emission in made)
        staged.bytes += sum(len(record.value or b"") for record in (*work.records, *letters))
        checkpoint.events += work.events
        for name, late in work.late_events.items():
            checkpoint.late_events[name] = checkpoint.late_events.get(name, 0) + late
        return True

    def _feed(self, work: Work, updates: Iterable[Update]) -> None:
        """Take what agents have added to tables; their stream time goes on with the agents' events."""
        rows: dict[str, list[pl.DataFrame]] = {}
        for update in updates:
            rows.setdefault(update.table.name, []).append(update.frame)
        for batch in work.batches:
            for table in self.tables.values():
                if table.fed_by is not batch.cls:
                    continue
                frames = rows.get(table.name)
                made = pl.concat(frames) if frames else None
                taken = self._intake(work, table).feed(batch.frame, made)
                work.taken.append((table.name, taken))
                if made is not None and taken.late is not None:
                    self._late_rows(work, table, made[taken.late])

    def _late_rows(self, work: Work, table: Table, rows: pl.DataFrame) -> None:
        work.late_events[table.name] = work.late_events.get(table.name, 0) + len(rows)
        work.records += late_rows(names.late_topic(self.app_id, table.name), table.name, rows)

    def mark_idle(self, topic: str, partition: int) -> list[str]:
        """The partition has had nothing for so long that its tables' watermarks need not wait for it.

        Gives the tables for which that is news.
        """
        told = []
        for table in self.tables.values():
            if table.topic == topic and not table.aligned:
                key = (table.name, partition)
                known = self._staged.stream_times.get(key) or self._committed_times.get(key)
                if known is None or not known.idle:
                    time = known.time if known else None
                    self._staged.stream_times[key] = Progress(time, idle=True)
                    told.append(table.name)
        return told

    def read_topic(self, table: Table) -> str:
        """The topic whose offsets move with the table's state."""
        return table.topic if table.aligned else names.repartition_topic(self.app_id, table.name)

    def tables_of(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """The (table, partition)s whose state belongs to these source partitions."""
        return [
            (table.name, number)
            for topic, number in sorted(partitions)
            for table in self.tables.values()
            if topic == self.read_topic(table)
        ]

    def _unfinished(self) -> list[TopicPartition]:
        """The table partitions that need another checkpoint, even if no event comes."""
        return [key for key, item in self._partitions.items() if item.unfinished]

    @property
    def staged_bytes(self) -> int:
        """About how much memory the staged partials take."""
        return self._staged.bytes

    @property
    def dirty(self) -> bool:
        """Whether a checkpoint would hold anything."""
        return bool(self._staged.positions or self._staged.stream_times or self._unfinished())

    def freeze(self) -> Staged:
        """Cut a checkpoint: take what is staged, and begin anew."""
        staged, self._staged = self._staged, Staged()
        for name, number in staged.stream_times:  # kept with the offset: that is committed too
            here = (self.tables[name].topic, number)
            staged.positions.setdefault(here, self._positions[here])
        for name, number in self._unfinished():  # a checkpoint is known again by its offsets
            here = (self.read_topic(self.tables[name]), number)
            staged.positions.setdefault(here, self._positions[here])
            staged.progress.setdefault((name, number), {})
        staged.checkpoint.positions = staged.positions
        return staged

    def prepare(self, staged: Staged, read: ReadSegments, each: Each = map) -> Checkpoint:
        """Merge, close windows, encode. Reads committed segments with `read`; changes nothing.

        each: as `map`; table partitions are prepared with it, of which several may be at the same time.
        """
        checkpoint = staged.checkpoint
        for (name, partition), progress in staged.stream_times.items():
            key = (name, partition)
            partials = staged.outgoing.get(key, [])
            if self.tables[name].aligned:
                staged.partials[key] = partials
                staged.progress[key] = {partition: progress}
            else:
                self._send(checkpoint, key, partials, progress)
        positions = {f"{topic}/{number}": at for (topic, number), at in staged.positions.items()}
        checkpoint.stream_times = {here: self._times(staged, *here) for here in staged.positions}
        budget = Budget(self._sizes.merge_bytes_max)

        def change(key: TopicPartition) -> Change | None:
            return self._partitions[key].prepare(
                staged.partials.get(key, ()),
                staged.progress.get(key, {}),
                partial(read, *key),
                positions,
                budget,
            )

        for made in each(change, self._in_turn(staged.partials.keys() | staged.progress.keys())):
            if made is not None:
                self._finish(checkpoint, made)
        return checkpoint

    def _in_turn(self, keys: Collection[TopicPartition]) -> list[TopicPartition]:
        """Another one first each time: what is spent on the first ones is not left to the others."""
        first = next(self._turns) % max(len(keys), 1)
        ordered = sorted(keys)
        return ordered[first:] + ordered[:first]

    def _times(self, staged: Staged, topic: str, partition: int) -> dict[str, int]:
        """A source partition's stream time for each table that is repartitioned."""
        times: dict[str, int] = {}
        for table in self.tables.values():
            key = (table.name, partition)
            progress = staged.stream_times.get(key) or self._committed_times.get(key)
            if (
                table.topic == topic
                and not table.aligned
                and progress
                and progress.time is not None
            ):
                times[table.name] = progress.time
        return times

    def _send(
        self,
        checkpoint: Checkpoint,
        key: TopicPartition,
        partials: list[pl.DataFrame],
        progress: Progress,
    ) -> None:
        """Send a source partition's partials to the owners of their keys."""
        table = self.tables[key[0]]
        sender = self._senders.get(key)
        if sender is None:
            sender = self._senders[key] = Sender(
                table,
                names.repartition_topic(self.app_id, table.name),
                key[1],
                self._partition_counts[self.read_topic(table)],
                self._sizes.segment_bytes_max,
            )
        checkpoint.records += sender.records(table.stack(partials) if partials else None, progress)

    def _finish(self, checkpoint: Checkpoint, change: Change) -> None:
        """Make derived events of closed windows, and late records of partials that came too late."""
        checkpoint.changes.append(change)
        table = change.table
        for rows in change.closed:
            if table.emit is not None and len(rows):
                checkpoint.emissions.append(window_emission(table, change.partition, rows))
        for partials in change.late:
            late = int(partials[EVENTS].sum())
            checkpoint.late_events[table.name] = checkpoint.late_events.get(table.name, 0) + late
            checkpoint.records += late_rows(
                names.late_topic(self.app_id, table.name), table.name, partials
            )

    def commit(self, staged: Staged, checkpoint: Checkpoint) -> None:
        """The transaction has committed: make it the state."""
        for change in checkpoint.changes:
            self._partitions[(change.table.name, change.partition)].apply(change)
        self._committed_times.update(staged.stream_times)

    def partitions_of(self, table: str) -> list[TablePartition]:
        """The partitions of a table that this worker owns, in their order."""
        return [item for (name, _), item in self._partitions.items() if name == table]


def _readings(positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, Reading]:
    return {here: Reading(position) for here, position in positions.items()}

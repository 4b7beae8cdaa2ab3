"""One worker without a broker: the engine over a log in memory, one step at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator

from app.engine import names
from app.engine.language.batch import Emission, Update
from app.engine.language.derived_events import derived_records
from app.engine.language.table import Table
from app.engine.processing.agent import AgentRunner
from app.engine.processing.checkpoint import Checkpoint, Record
from app.engine.processing.dead_letter import dead_letter, facts_of
from app.engine.processing.intake import Intake
from app.engine.processing.offset_note import OffsetNote
from app.engine.processing.processor import Each, Processor
from app.engine.processing.source import Limits
from app.engine.processing.work import TopicPartition, Work
from app.engine.reading.committed_reader import CommittedReader
from app.engine.state.sizes import Sizes
from app.engine.state.store import Store, StoreWrite
from app.engine.state.table_partition import TablePartition
from app.engine.state.watermark import Progress
from app.events.catalogue import Catalogue
from app.monitoring.letters_told import LettersTold
from app.testing.memory_log import MemoryLog


class MemoryWorker:
    """Does what a worker does with its partitions, and owns all of them.

    The steps are apart, so that a test can put anything between them: `compute` and `finish` a fetch,
    `checkpoint` or `abort` what is staged. A new worker over the same log and store is a restart.
    each: what prepares the table partitions of a checkpoint, as `map` does.
    """

    def __init__(
        self,
        log: MemoryLog,
        store: Store,
        catalogue: Catalogue,
        tables: Iterable[Table],
        agents: Iterable[AgentRunner] = (),
        *,
        app_id: str = "test",
        limits: Limits | None = None,
        sizes: Sizes | None = None,
        each: Each = map,
    ) -> None:
        self._each = each
        self._told = LettersTold()
        self.log = log
        self.store = store
        self._agents = list(agents)
        types = {agent.name: agent.cls for agent in self._agents}
        self.processor = _Processor(app_id, catalogue, tables, types, limits=limits, sizes=sizes)
        self.reader = CommittedReader(self.processor, store)
        self._loop = asyncio.Runner()
        self._next: dict[TopicPartition, int] = {}
        self._take_over(range(log.partitions))

    @property
    def app_id(self) -> str:
        """What topics are named after."""
        return self.processor.app_id

    @property
    def partitions(self) -> list[TopicPartition]:
        """All partitions that are read."""
        return [
            (topic, number)
            for topic in self.processor.topics
            for number in range(self.log.partitions)
        ]

    def compute(self, topic: str, partition: int, *, batches_max: int | None = None) -> Work | None:
        """Read on and compute; None: nothing is left to read."""
        here = (topic, partition)
        fetch = self.log.fetch(topic, partition, self._next[here], batches_max=batches_max)
        if fetch is None:
            return None
        self._next[here] = fetch.end
        work = self.processor.compute(fetch)
        assert work is not None, "a worker reads each partition in order"
        return work

    def finish(self, work: Work) -> bool:
        """Let the agents work, then stage; False: it was computed before the last rewind, and is dropped."""
        return self._loop.run(self._finish(work))

    def step(self, topic: str, partition: int, *, batches_max: int | None = None) -> bool:
        """Read on, compute and stage; False: nothing is left to read."""
        work = self.compute(topic, partition, batches_max=batches_max)
        return work is not None and self.finish(work)

    def settle(self) -> None:
        """Read and checkpoint until nothing is left, the topics included that the engine itself writes."""
        while True:
            for here in self.partitions:
                self.step(*here)
            if not self.processor.dirty:
                return
            self.checkpoint()

    def advance(self, time_ms: int) -> None:
        """Let event time pass on all source partitions, as far as it has not come there yet."""
        self.processor.advance(time_ms)

    def checkpoint(self, *, write_store: bool = True) -> Checkpoint:
        """Publish what is staged. Without `write_store` it is as if the worker had died in between."""
        staged = self.processor.freeze()
        checkpoint = self.processor.prepare(staged, self.store.read, self._each)
        offsets = {
            here: (offset, OffsetNote("", checkpoint.stream_times.get(here, {})).encode())
            for here, offset in checkpoint.positions.items()
        }
        ends = self.log.commit(self._records(checkpoint), offsets)
        self._tell(checkpoint)
        if write_store:
            self.store.write(self._writes(checkpoint, ends))
            self.reader.stored(checkpoint)
            self.processor.commit(staged, checkpoint)
        return checkpoint

    def _tell(self, checkpoint: Checkpoint) -> None:
        """Log dead letters as a worker does: what a test misses then says why."""
        for record in checkpoint.records:
            if record.topic == names.dead_letter_topic(self.app_id):
                facts = facts_of(record.headers)
                self._told.add(facts["stage"], facts)

    def abort(self) -> None:
        """Prepare what is staged, have its transaction aborted, and go back to what is committed."""
        checkpoint = self.processor.prepare(self.processor.freeze(), self.store.read, self._each)
        self.log.abort(self._records(checkpoint))
        self.rewind()

    def rewind(self) -> None:
        """Drop what is staged, and read again from the committed offsets."""
        self._next = self._committed()
        self.processor.reset(self._next)

    def close(self) -> None:
        """End the agents."""
        for agent in self._agents:
            self._loop.run(agent.stop())
        self._loop.close()

    # -- partitions are taken over ----------------------------------------------------------------

    def hand_over(self, number: int) -> None:
        """Give a partition up, and take it over again, while the others go on."""
        partitions = [(topic, number) for topic in self.processor.topics]
        self.processor.close(partitions)
        if self.processor.dirty:
            self.checkpoint()
        self.processor.remove(partitions)
        self._take_over([number])

    def _take_over(self, numbers: Collection[int]) -> None:
        """Bring the store up to the changelogs, and take these partitions over."""
        processor = self.processor
        counts = dict.fromkeys(processor.topics, self.log.partitions)
        processor.set_partition_counts(counts)
        mine = [(topic, number) for topic in processor.topics for number in numbers]
        tables: dict[TopicPartition, TablePartition] = {}
        for name in processor.tables:
            for number in numbers:
                self._restore(name, number)
                item = tables[(name, number)] = processor.table_partition(name, number)
                item.load(self.store)
        times = {
            here: OffsetNote.decode(note).stream_times
            for here, (_, note) in self.log.committed.items()
            if here in mine
        }
        positions = self._committed()
        starts = {here: positions[here] for here in mine}
        self._next.update(starts)
        processor.add(starts, tables, times)

    def _restore(self, table: str, partition: int) -> None:
        topic = names.changelog_topic(self.app_id, table)
        held = self.store.changelog_offset(table, partition) or 0
        write = StoreWrite(table, partition, changelog_offset=self.log.end(topic, partition))
        for record in self.log.read(topic, partition):
            if record.offset < held:
                continue
            assert record.key is not None
            write.puts.pop(record.key, None)
            if record.value is None:
                write.deletes.append(record.key)
            else:
                write.puts[record.key] = record.value
        self.store.write([write])

    def _committed(self) -> dict[TopicPartition, int]:
        return {here: self.log.committed.get(here, (0, ""))[0] for here in self.partitions}

    # -- batches and checkpoints ------------------------------------------------------------------

    async def _finish(self, work: Work) -> bool:
        emissions: list[Emission] = []
        letters: list[Record] = []
        updates: list[Update] = []
        for batch in work.batches:
            for agent in self._agents:
                if agent.cls is not batch.cls:
                    continue
                given = batch.for_agent(agent.name)
                if not len(given):
                    continue
                outcome = await agent.run(given)
                emissions += outcome.emissions
                updates += outcome.updates
                assert work.decoded is not None
                letters += [
                    dead_letter(
                        names.dead_letter_topic(self.app_id),
                        work.decoded.records,
                        failure.row,
                        source=(batch.topic, batch.partition),
                        stage="agent",
                        reason=failure.reason,
                        attempts=failure.attempts,
                        traceback=failure.traceback,
                        agent=agent.name,
                    )
                    for failure in outcome.failures
                ]
        return self.processor.stage(work, emissions, letters, updates)

    def _records(self, checkpoint: Checkpoint) -> Iterator[Record]:
        """All that one transaction carries."""
        yield from checkpoint.records
        closed: list[Record] = []
        for emission in checkpoint.emissions:
            records = derived_events(emission, self.app_id)
            if emission.source in self.processor.tables:
                closed += records
            else:
                yield from records
        # rows of a closed window come in any order: sorted, so that tests can compare lists
        yield from sorted(closed, key=lambda item: (item.timestamp, item.topic, item.value))
        for change in checkpoint.changes:
            topic = names.changelog_topic(self.app_id, change.table.name)
            for key, value in {**dict.fromkeys(change.deletes), **change.puts}.items():
                yield Record(topic, key, value, partition=change.partition)

    def _writes(
        self, checkpoint: Checkpoint, ends: dict[TopicPartition, int]
    ) -> Iterator[StoreWrite]:
        for change in checkpoint.changes:
            name, number = change.table.name, change.partition
            end = ends[(names.changelog_topic(self.app_id, name), number)]
            yield StoreWrite(name, number, change.puts, change.deletes, end)


class _Processor(Processor):
    """The engine, with event time that a test can let pass without an event."""

    def advance(self, time_ms: int) -> None:
        for table in self.tables.values():
            for number in range(self._partition_counts[table.topic]):
                key = (table.name, number)
                known = self._staged.stream_times.get(key) or self._committed_times.get(key)
                if known is None or known.time is None or known.time < time_ms:
                    here = (table.topic, number)
                    self._readings[here].intakes[table.name] = Intake(table, time_ms)
                    self._staged.stream_times[key] = Progress(time_ms)
                    # its offset is committed anew, with the time beside it
                    self._staged.positions[here] = self._positions[here]


def derived_events(emission: Emission, app_id: str) -> Iterator[Record]:
    """The records of derived events, one by one."""
    columns = derived_records(emission, app_id)
    count = len(columns)
    keys = [None] * count if columns.key is None else columns.key.to_list()
    values = columns.value.to_list()
    ids = [columns.id_prefix + (item or b"") for item in columns.id.to_list()]
    for key, value, identity, time in zip(keys, values, ids, columns.timestamp, strict=True):
        headers = [("ce_id", identity), *columns.headers]
        yield Record(columns.topic, key, value, headers, timestamp=int(time))

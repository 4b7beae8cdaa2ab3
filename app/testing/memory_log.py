"""A Kafka in memory, as far as the engine sees one: partitions, transactions, committed offsets."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.codecs.murmur2 import partition as partition_of
from app.codecs.record_batch import Fetch, parse
from app.engine.processing.checkpoint import Record
from app.testing.record_batch import encode, transaction_marker

TopicPartition = tuple[str, int]
_PRODUCER = 1


@dataclass(frozen=True)
class StoredRecord:
    """A committed record as a reader sees it. `timestamp` is in ms."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    def header(self, name: str) -> str | None:
        """The text of a header; None: there is none."""
        value = dict(self.headers).get(name)
        return None if value is None else value.decode()


@dataclass(frozen=True)
class _Stored:
    """A record batch, its offsets (first, and the next after it), and when each record came among all."""

    first: int
    end: int
    data: bytes
    arrivals: tuple[int, ...]


@dataclass
class _Part:
    """Records on their way to one partition, and when each came among all."""

    records: list[Record] = field(default_factory=list)
    arrivals: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Aborted:
    first: int
    marker: int


class MemoryLog:
    """Topics that exist once they are named, all with the same number of partitions.

    A reader sees what Kafka shows a read-committed one: the bytes of aborted transactions are there,
    and are named in `Fetch.aborted`. A transaction becomes visible in one step, so there is never an
    open one to wait for. batch_records_max: of the record batches of a transaction; None: one per partition.
    """

    def __init__(self, partitions: int = 1, *, batch_records_max: int | None = None) -> None:
        if partitions < 1:
            raise ValueError(f"a topic has at least 1 partition, not {partitions}")
        self.partitions = partitions
        self._batch_records_max = batch_records_max
        self.committed: dict[TopicPartition, tuple[int, str]] = {}
        self._batches: dict[TopicPartition, list[_Stored]] = defaultdict(list)
        self._ends: dict[TopicPartition, int] = defaultdict(int)
        self._aborted: dict[TopicPartition, list[_Aborted]] = defaultdict(list)
        self._arrivals = itertools.count()
        self._keyless = itertools.count()

    def append(self, records: Iterable[Record]) -> None:
        """Append records outside of a transaction, one record batch per partition."""
        for here, part in self._placed(records).items():
            self._store(here, encode(part.records, self._ends[here]), part.arrivals)

    def commit(
        self, records: Iterable[Record], offsets: Mapping[TopicPartition, tuple[int, str]]
    ) -> dict[TopicPartition, int]:
        """Make records and the group's offsets, with their metadata, visible together.

        Gives the end of each partition that was written.
        """
        placed = self._placed(records)
        for here, part in placed.items():
            self._transact(here, part, committed=True)
        self.committed.update(offsets)
        return {here: self._ends[here] for here in placed}

    def abort(self, records: Iterable[Record]) -> None:
        """Write records whose transaction then aborts: they take up offsets, and no reader sees them."""
        for here, part in self._placed(records).items():
            first = self._ends[here]
            self._transact(here, part, committed=False)
            self._aborted[here].append(_Aborted(first, self._ends[here] - 1))

    def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will have."""
        return self._ends[(topic, partition)]

    def fetch(
        self, topic: str, partition: int, start: int, *, batches_max: int | None = None
    ) -> Fetch | None:
        """The bytes of at most `batches_max` record batches from `start` on; None: the end is reached."""
        here = (topic, partition)
        batches = self._batches[here]
        first = max(bisect_right(batches, start, key=lambda batch: batch.first) - 1, 0)
        if batches and batches[first].end <= start:
            first += 1
        chosen = batches[first:] if batches_max is None else batches[first : first + batches_max]
        if not chosen:
            return None
        end = self._ends[here] if chosen[-1] is batches[-1] else chosen[-1].end
        aborted = tuple(
            (_PRODUCER, item.first)
            for item in self._aborted[here]
            if item.marker >= start and item.first < end
        )
        return Fetch(
            topic, partition, start, end, b"".join(batch.data for batch in chosen), aborted
        )

    def read(self, topic: str, partition: int | None = None) -> list[StoredRecord]:
        """All committed records of a topic or of one partition, in the order in which they came."""
        numbers = range(self.partitions) if partition is None else [partition]
        found: list[tuple[int, StoredRecord]] = []
        for number in numbers:
            batches = self._batches[(topic, number)]
            fetch = self.fetch(topic, number, 0)
            for record in [] if fetch is None else records_of(fetch):
                batch = batches[
                    bisect_right(batches, record.offset, key=lambda batch: batch.first) - 1
                ]
                found.append((batch.arrivals[record.offset - batch.first], record))
        return [record for _, record in sorted(found, key=lambda item: item[0])]

    def compact(self, topic: str, partition: int) -> None:
        """Keep only the last record of each key, as Kafka's log compaction does; offsets stay."""
        latest = {record.key: record for record in self.read(topic, partition)}
        kept = sorted(
            (record for record in latest.values() if record.value is not None),
            key=lambda item: item.offset,
        )
        self._batches[(topic, partition)] = [
            _Stored(
                item.offset,
                item.offset + 1,
                encode([_record(item)], item.offset),
                (next(self._arrivals),),
            )
            for item in kept
        ]
        self._aborted[(topic, partition)] = []

    def _transact(self, here: TopicPartition, part: _Part, *, committed: bool) -> None:
        step = self._batch_records_max or len(part.records)
        for first in range(0, len(part.records), step):
            records = part.records[first : first + step]
            data = encode(records, self._ends[here], producer=_PRODUCER)
            self._store(here, data, part.arrivals[first : first + step])
        marker = transaction_marker(self._ends[here], _PRODUCER, committed=committed)
        self._store(here, marker, [next(self._arrivals)])

    def _store(self, here: TopicPartition, data: bytes, arrivals: Sequence[int]) -> None:
        first = self._ends[here]
        end = self._ends[here] = first + len(arrivals)
        self._batches[here].append(_Stored(first, end, data, tuple(arrivals)))

    def _placed(self, records: Iterable[Record]) -> dict[TopicPartition, _Part]:
        """The records of each partition, in their order; keys are placed by murmur2, others in turn."""
        placed: dict[TopicPartition, _Part] = {}
        for record in records:
            number = record.partition
            if number is None:
                number = (
                    next(self._keyless) % self.partitions
                    if record.key is None
                    else partition_of(record.key, self.partitions)
                )
            if not 0 <= number < self.partitions:
                raise ValueError(
                    f"{record.topic} has partitions 0 to {self.partitions - 1}, and no {number}"
                )
            part = placed.setdefault((record.topic, number), _Part())
            part.records.append(record)
            part.arrivals.append(next(self._arrivals))
        return placed


def records_of(fetch: Fetch) -> list[StoredRecord]:
    """The visible records of a fetch."""
    records = parse(fetch, check_crc=True)
    return [
        StoredRecord(
            fetch.topic,
            fetch.partition,
            int(records.offset[row]),
            int(records.timestamp[row]),
            records.key(row),
            records.value(row),
            records.headers(row),
        )
        for row in range(len(records))
    ]


def _record(stored: StoredRecord) -> Record:
    return Record(
        stored.topic, stored.key, stored.value, stored.headers, stored.partition, stored.timestamp
    )

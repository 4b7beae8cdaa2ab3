"""The record batches of a checkpoint, made one after the other while they are sent."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from app.codecs.murmur2 import partition as partition_of
from app.codecs.record_rows import Row, row_batches
from app.codecs.record_writer import Packing, UnsentBatch, in_turn, write_batches
from app.engine import names
from app.engine.language.batch import Emission, joined, of_one_kind, pieces
from app.engine.language.derived_events import derived_records
from app.engine.processing.checkpoint import Checkpoint, Record
from app.events.event import event_type

_EMISSION_ROWS_MAX = 3 << 14
"""Of derived events that are in memory as JSON at a time."""
_LANES_MAX = 8
_THREADS = 2


class Outbox:
    """Turns checkpoints into record batches; records without a key take turns at the partitions."""

    def __init__(self, app_id: str) -> None:
        self._app_id = app_id
        self._turn = itertools.count()
        self._threads = ThreadPoolExecutor(_THREADS, "headrace-outbox")

    def close(self) -> None:
        """End its threads."""
        self._threads.shutdown()

    def topics(self, checkpoint: Checkpoint) -> set[str]:
        """The topics that the checkpoint writes to."""
        return {
            *(record.topic for record in checkpoint.records),
            *(event_type(emission.cls).topic for emission in checkpoint.emissions),
            *(self._changelog(change.table.name) for change in checkpoint.changes),
        }

    def batches(
        self, checkpoint: Checkpoint, partition_counts: Mapping[str, int]
    ) -> Iterator[UnsentBatch]:
        """All batches, in an order in which partitions take turns."""
        yield from in_turn(
            row_batches(*here, _rows(records))
            for here, records in self._placed(checkpoint.records, partition_counts).items()
        )
        for emissions in of_one_kind(checkpoint.emissions):
            yield from self._derived(emissions, partition_counts)
        yield from in_turn(
            row_batches(*here, _rows(records), segments=True)
            for here, records in self._changes(checkpoint).items()
        )

    def _derived(
        self, emissions: Sequence[Emission], partition_counts: Mapping[str, int]
    ) -> Iterator[UnsentBatch]:
        """Derived events of one kind. Of many, those of different partitions take turns, made ahead by other threads.

        Where they go to the partition that they come from, a request would else carry one batch at a time.
        """
        if sum(len(emission.frame) for emission in emissions) <= _EMISSION_ROWS_MAX:
            yield from self._lane([joined(emissions)], partition_counts)
            return
        lanes: dict[int, list[Emission]] = defaultdict(list)
        for emission in emissions:
            lanes[emission.partition % _LANES_MAX].append(emission)
        rows_max = _EMISSION_ROWS_MAX // len(lanes)
        yield from in_turn(
            [
                _ahead(self._threads, self._lane(pieces(lane, rows_max), partition_counts))
                for lane in lanes.values()
            ]
        )

    def _lane(
        self, parts: Iterable[Emission], partition_counts: Mapping[str, int]
    ) -> Iterator[UnsentBatch]:
        packing = Packing()
        for part in parts:
            records = derived_records(part, self._app_id)
            count = partition_counts[records.topic]
            keyless = next(self._turn) % count
            yield from write_batches(records, count, keyless_partition=keyless, packing=packing)

    def _changelog(self, table: str) -> str:
        return names.changelog_topic(self._app_id, table)

    def _placed(
        self, records: Iterable[Record], partition_counts: Mapping[str, int]
    ) -> dict[tuple[str, int], list[Record]]:
        """Dead letters, late events and partial aggregates by their partition."""
        placed: dict[tuple[str, int], list[Record]] = defaultdict(list)
        for record in records:
            partition, count = record.partition, partition_counts[record.topic]
            if partition is None:
                keyless = record.key is None
                partition = next(self._turn) % count if keyless else partition_of(record.key, count)  # type: ignore[arg-type]
            placed[(record.topic, partition)].append(record)
        return placed

    def _changes(self, checkpoint: Checkpoint) -> dict[tuple[str, int], list[Record]]:
        """The changelog's records: tombstones, then segments."""
        placed: dict[tuple[str, int], list[Record]] = defaultdict(list)
        for change in checkpoint.changes:
            here = (self._changelog(change.table.name), change.partition)
            entries: dict[bytes, bytes | None] = {**dict.fromkeys(change.deletes), **change.puts}
            placed[here] += [Record(here[0], key, value) for key, value in entries.items()]
        return placed


def _ahead(threads: Executor, batches: Iterator[UnsentBatch]) -> Iterator[UnsentBatch]:
    """The same batches, each made by one of the threads while the one before is sent."""
    first = threads.submit(next, batches, None)  # at once, not only when it is asked for

    def made() -> Iterator[UnsentBatch]:
        coming = first
        while (batch := coming.result()) is not None:
            coming = threads.submit(next, batches, None)
            yield batch

    return made()


def _rows(records: Iterable[Record]) -> Iterator[Row]:
    now_ms = time.time_ns() // 1_000_000
    for record in records:
        stamp = now_ms if record.timestamp is None else max(record.timestamp, 0)
        yield Row(record.key, record.value, stamp, record.headers)

"""What one fetch, and then one checkpoint, holds on its way through the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl

from app.codecs.record_batch import Fetch
from app.engine.language.batch import Batch
from app.engine.processing.checkpoint import Checkpoint, Record
from app.engine.processing.intake import Intake, Taken
from app.engine.processing.source import Decoded
from app.engine.state.watermark import Progress

TopicPartition = tuple[str, int]
ReadSegments = Callable[[str, int, list[bytes]], list[bytes]]
"""(table, partition, keys of segments) to their bytes."""


@dataclass
class Reading:
    """What computing a partition depends on, from its take-over or the last reset on; intakes: by table.

    Work of an earlier reading of the same partition is dropped.
    """

    next_offset: int
    intakes: dict[str, Intake] = field(default_factory=dict)


@dataclass
class Work:
    """What one fetch has become: staged as a whole, or dropped as a whole."""

    fetch: Fetch
    reading: Reading
    events: int = 0
    decoded: Decoded | None = None
    records: list[Record] = field(default_factory=list)
    dead_letters: int = 0
    taken: list[tuple[str, Taken]] = field(default_factory=list)
    received: list[tuple[str, int, Progress, pl.DataFrame | None]] = field(default_factory=list)
    late_events: dict[str, int] = field(default_factory=dict)

    @property
    def batches(self) -> Sequence[Batch]:
        """The batches that agents may want."""
        return () if self.decoded is None else self.decoded.batches


@dataclass
class Staged:
    """What has been staged since the last checkpoint was frozen."""

    positions: dict[TopicPartition, int] = field(default_factory=dict)
    partials: dict[TopicPartition, list[pl.DataFrame]] = field(default_factory=dict)
    progress: dict[TopicPartition, dict[int, Progress]] = field(default_factory=dict)
    outgoing: dict[TopicPartition, list[pl.DataFrame]] = field(default_factory=dict)
    stream_times: dict[TopicPartition, Progress] = field(default_factory=dict)
    checkpoint: Checkpoint = field(default_factory=lambda: Checkpoint({}))
    bytes: int = 0

    def take(self, key: TopicPartition, taken: Taken) -> None:
        """Add what a source partition gave to a table. key: (table, source partition)."""
        self.stream_times[key] = Progress(taken.stream_time)
        if taken.partial is not None:
            self.outgoing.setdefault(key, []).append(taken.partial)
            self.bytes += int(taken.partial.estimated_size())

    def receive(
        self, key: TopicPartition, sender: int, progress: Progress, partials: pl.DataFrame | None
    ) -> None:
        """Add what a sender gave to a table's partition. key: (table, its partition)."""
        self.progress.setdefault(key, {})[sender] = progress
        if partials is not None:
            self.partials.setdefault(key, []).append(partials)
            self.bytes += int(partials.estimated_size())

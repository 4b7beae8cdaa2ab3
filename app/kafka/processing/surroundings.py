"""What the runner needs of the parts around it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from app.codecs.record_batch import Fetch
from app.engine.processing.checkpoint import Checkpoint
from app.engine.processing.work import TopicPartition
from app.kafka.group.membership import Membership


class ConsumerControl(Protocol):
    """What the runner needs of the consumer."""

    def membership(self) -> Membership:
        """This worker's place in the group, in the generation of its last assignment."""
        ...

    def departed(self) -> Collection[str]:
        """The transactional ids of workers that have been in the group beside this one, and are not now."""
        ...

    async def begin(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, which have waited for their state, from these offsets on."""
        ...

    def awaited(self) -> Collection[TopicPartition]:
        """What others keep until this worker says, by joining again, that it can take it."""
        ...

    async def let_go(self, partitions: Collection[TopicPartition]) -> None:
        """Read these partitions no more, and have the group give them to others."""
        ...

    async def rewind(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions again from these offsets."""
        ...

    def rejoin(self) -> None:
        """Join the group anew."""
        ...

    def release(self, fetch: Fetch) -> None:
        """The fetch's bytes are no longer needed."""
        ...

    def caught_up(self, topic: str, partition: int, position: int) -> bool:
        """Whether the partition has nothing after this offset, by the broker's last answer about it."""
        ...

    def silent_s(self, topic: str, partition: int) -> float:
        """For how long the broker has said nothing about the partition (s)."""
        ...


class Observer(Protocol):
    """Told of what happens, for the metrics."""

    def fetched(self, fetch: Fetch, events: int, fallback: int) -> None: ...
    def checkpoint_done(
        self, checkpoint: Checkpoint, seconds: float, bytes_written: int
    ) -> None: ...
    def checkpoint_failed(self, reason: str) -> None: ...
    def restored(self, records: int, seconds: float) -> None: ...


@dataclass(frozen=True)
class Pace:
    """How often and how large: times in ms, sizes in bytes."""

    checkpoint_interval_ms: int
    checkpoint_bytes_max: int
    idle_partition_ms: int
    dead_letter_traceback_bytes_max: int

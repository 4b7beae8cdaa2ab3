"""What a worker's checkpoints tell of, when partitions come and go."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

from app.engine.processing.work import TopicPartition
from app.kafka.processing.checkpoints import Checkpoints
from app.kafka.processing.surroundings import Pace

BUSY, QUIET = ("sales", 0), ("sales", 1)


class FakeProcessor:
    """Has work of one partition, until that is gone."""

    def __init__(self) -> None:
        self.staged_bytes = 0
        self.dirty = True

    def remove(self, partitions: Collection[TopicPartition]) -> None:
        self.dirty = self.dirty and BUSY not in partitions


def made() -> tuple[Checkpoints, FakeProcessor]:
    unused: Any = None
    consumer: Any = SimpleNamespace(silent_s=lambda _topic, _partition: 0.0)
    processor: Any = FakeProcessor()
    pace = Pace(
        checkpoint_interval_ms=100,
        checkpoint_bytes_max=1,
        idle_partition_ms=1000,
        dead_letter_traceback_bytes_max=1,
    )
    checkpoints = Checkpoints(
        processor,
        unused,
        unused,
        [],
        consumer,
        unused,
        pace,
        log_starts=dict,
        membership_wait_s=1,
        clock=lambda: 5.0,
    )
    return checkpoints, processor


async def test_nothing_waits_when_the_partition_that_had_work_is_gone() -> None:
    """The worker is ready, although the other one has no event that could be committed."""
    checkpoints, _ = made()
    checkpoints.add({BUSY: 7, QUIET: 8})
    work: Any = SimpleNamespace(
        fetch=SimpleNamespace(topic=BUSY[0], partition=BUSY[1]), events=1, received=0
    )
    checkpoints.staged(work)
    assert checkpoints.waiting_ms() is not None
    await checkpoints.forget([BUSY])
    assert checkpoints.waiting_ms() is None


async def test_readers_hear_of_partitions_that_come_and_go() -> None:
    checkpoints, _ = made()
    heard: list[set[TopicPartition]] = []
    checkpoints.on_reassigned = lambda: heard.append(set(checkpoints.positions))
    checkpoints.add({BUSY: 7, QUIET: 8})
    await checkpoints.forget([BUSY])
    assert heard == [{BUSY, QUIET}, {QUIET}]

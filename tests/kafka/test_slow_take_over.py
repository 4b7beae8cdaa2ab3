"""A take-over that is so slow that another worker has gone on with the partitions meanwhile."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from app.engine.processing.offset_note import OffsetNote
from app.engine.processing.work import TopicPartition
from app.kafka.changelogs.restore import RestoreError
from app.kafka.processing.runner import Runner
from app.kafka.processing.takeover import StateAheadError
from app.kafka.transactions.publisher import Committed

HERE = ("sales", 3)


def runner(*offsets: int) -> Runner:
    """Its restore finds state of later events than its first question for the offsets; more questions follow."""
    left = iter(offsets)

    def committed(_: Collection[TopicPartition], *, wait: bool) -> Committed:
        return {HERE: (next(left), OffsetNote())}

    def restore(_: Collection[TopicPartition], found: Committed) -> Any:
        raise StateAheadError(f"the group has committed only {found[HERE][0]}")

    made = Runner.__new__(Runner)
    thread = ThreadPoolExecutor(1)
    made._kernels = Future()
    made._kernels.set_result(None)
    made._publisher = SimpleNamespace(committed=committed)  # type: ignore[assignment]
    made.checkpoints = SimpleNamespace(thread=thread)  # type: ignore[assignment]
    made._restore_thread = thread
    made._take_over = restore  # type: ignore[assignment]
    made._clock = lambda: 0.0
    made._stable_wait_s = 1
    made.steps = 0
    return made


async def test_state_that_another_worker_has_written_meanwhile_is_no_reason_to_end() -> None:
    with pytest.raises(RestoreError, match="another worker"):
        await runner(425, 540).take_over([HERE])


async def test_offsets_that_were_reset_by_hand_are() -> None:
    with pytest.raises(StateAheadError, match="425"):
        await runner(425, 425).take_over([HERE])

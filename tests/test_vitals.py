"""What the gauges show is what the worker has now."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

from app.engine.reading.restore_progress import RestoreProgress
from app.monitoring import metrics
from app.settings import Settings
from app.vitals import Vitals


def test_a_worker_without_partitions_shows_none() -> None:
    positions: dict[tuple[str, int], int] = {("orders", 3): 5}

    def state_bytes() -> int:
        assert positions, "the store may be closed"
        return 0

    runner: Any = SimpleNamespace(
        positions=lambda: positions,
        state_bytes=state_bytes,
        processor=SimpleNamespace(tables={}),
        last_error=None,
        checkpoints=SimpleNamespace(last_error=None),
    )
    vitals = Vitals(
        Settings(),
        runner,
        cast(Any, SimpleNamespace(lags=dict)),
        RestoreProgress(time.monotonic),
        lambda _: 9,
        lambda *_: 0.0,
        dict,
        lambda: 0,
        "127.0.0.1:1",
    )
    vitals.sample()
    assert shown() == {("orders", "3"): 4}
    positions.clear()
    vitals.sample()
    assert shown() == {}


def shown() -> dict[tuple[str, str], float]:
    """The lags, by topic and partition."""
    return {
        (sample.labels["topic"], sample.labels["partition"]): sample.value
        for family in metrics.LAG.collector.collect()
        for sample in family.samples
    }

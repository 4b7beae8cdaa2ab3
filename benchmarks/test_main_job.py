"""The main job in Headrace: one `faust worker`, exactly once, RocksDB, derived events."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.main_job_run import run_main_job
from benchmarks.stopwatch import stopwatch


@pytest.mark.benchmark(timer=stopwatch, group="main job")
def test_main_job(measure: Any) -> None:
    """Every window of every user is emitted once and right."""
    facts = measure("main_job", run_main_job)
    assert facts["differences"] == []

"""The main job with a hundred times as many keys: most windows' rows become derived events."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.main_job_run import run_high_cardinality
from benchmarks.stopwatch import stopwatch


@pytest.mark.benchmark(timer=stopwatch, group="high cardinality")
def test_high_cardinality(measure: Any) -> None:
    """Every window of every user is emitted once and right."""
    facts = measure("high_cardinality", run_high_cardinality)
    assert facts["differences"] == []

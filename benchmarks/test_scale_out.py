"""Two workers against one."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.scale_out_run import run_scale_out
from benchmarks.stopwatch import stopwatch


@pytest.mark.benchmark(timer=stopwatch, group="scale out")
def test_scale_out(measure: Any) -> None:
    """Every window of every user is emitted once and right, by one worker as by two."""
    facts = measure("scale_out", run_scale_out)
    assert facts["differences"] == []

"""Reads of single keys while the main job runs at half its speed."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.point_reads_run import run_point_reads
from benchmarks.stopwatch import stopwatch


@pytest.mark.benchmark(timer=stopwatch, group="point reads")
def test_point_reads(measure: Any) -> None:
    """Nearly every key has rows; how long a read takes is judged by the targets."""
    facts = measure("point_reads", run_point_reads)
    assert facts["found"] > 0.9

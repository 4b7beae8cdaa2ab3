"""Latency of a pass-through derived event at a steady rate."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.latency import run_latency
from benchmarks.stopwatch import stopwatch


@pytest.mark.benchmark(timer=stopwatch, group="latency")
def test_latency(measure: Any) -> None:
    """All events arrive; how late is judged by the targets."""
    facts = measure("latency", run_latency)
    assert facts["samples"] > 0

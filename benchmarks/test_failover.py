"""A worker that is killed, and another one that goes on for it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.failover_run import run_failover
from benchmarks.stopwatch import stopwatch


@pytest.mark.benchmark(timer=stopwatch, group="failover")
def test_failover(measure: Any) -> None:
    """The row of every user is right, whoever has counted for it."""
    facts = measure("failover", run_failover)
    assert facts["differences"] == []

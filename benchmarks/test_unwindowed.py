"""A table without windows whose keys are many."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.stopwatch import stopwatch
from benchmarks.unwindowed_run import run_unwindowed


@pytest.mark.benchmark(timer=stopwatch, group="unwindowed")
def test_unwindowed(measure: Any) -> None:
    """The row of every user is right."""
    facts = measure("unwindowed", run_unwindowed)
    assert facts["differences"] == []

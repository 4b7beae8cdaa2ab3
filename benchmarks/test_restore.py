"""A worker whose data directory is gone."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.restore_run import run_restore
from benchmarks.stopwatch import stopwatch


@pytest.mark.benchmark(timer=stopwatch, group="restore")
def test_restore(measure: Any) -> None:
    """The row of every user is back, and right."""
    facts = measure("restore", run_restore)
    assert facts["differences"] == []

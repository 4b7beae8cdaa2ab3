"""The main job by another revision of Headrace, in turn with this one's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.main_job_run import run_former_main_job
from benchmarks.stopwatch import stopwatch


@pytest.mark.benchmark(timer=stopwatch, group="main job")
def test_main_job_former(measure: Any, against: Path) -> None:
    """Every window of every user is emitted once and right."""
    facts = measure("main_job_former", partial(run_former_main_job, root=against))
    assert facts["differences"] == []

"""A worker dies at each step of a checkpoint; what it did counts once."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.faults.fuse import STEPS, Fuse
from tests.kafka.running_job import Job, writing
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka


def test_death_at_every_step(broker: str, tmp_path: Path, full_faults: bool) -> None:
    """With the data directory, and in the full form without it as well."""
    chance = random.Random(seed := new_seed())
    steps = chance.sample(STEPS, len(STEPS) if full_faults else 2)
    job, fuse = Job(broker, tmp_path), Fuse(tmp_path / "fuse")
    job.environment |= fuse.environment
    with job.worker("tests.faults.crashing_job") as item:
        sales = job.first_sales(item, seed)
        with writing(sales):
            for lose_data in (False, True) if full_faults else (False,):
                for step in steps:
                    job.wait_for_progress(item)
                    fuse.light(step)
                    assert item.wait(60) == -signal.SIGKILL, f"{step}:\n{item.log_tail()}"
                    assert fuse.burnt, step
                    if lose_data:
                        job.lose_data()
                    item.start()
            job.wait_for_progress(item)
        job.finish(item, sales)

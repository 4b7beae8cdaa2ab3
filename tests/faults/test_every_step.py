"""A worker dies at each step of a checkpoint; what it did counts once."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import msgspec
import pytest

from app.engine import names
from app.engine.state.table_partition import META_KEY, Meta
from tests.faults.fuse import STEPS, Fuse
from tests.kafka.running_job import PARTITIONS, Job, writing
from tests.kafka.sales import Model
from tests.kafka.source_log import SourceLog
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka
IN_SLICES = 1000


@pytest.mark.parametrize("slice_bytes", [32 << 20, IN_SLICES], ids=["whole", "in slices"])
def test_death_at_every_step(
    broker: str, tmp_path: Path, full_faults: bool, slice_bytes: int
) -> None:
    """With the data directory, and in the full form without it as well.

    In slices: windows are closed over several transactions, so that the worker often dies between two of them.
    """
    chance = random.Random(seed := new_seed())
    steps = chance.sample(STEPS, len(STEPS) if full_faults else 2)
    job, fuse = Job(broker, tmp_path), Fuse(tmp_path / "fuse")
    job.environment |= {
        **fuse.environment,
        "TEST_SEED": str(seed),
        "TEST_SLICE_BYTES": str(slice_bytes),
    }
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
        sales.flush()
        sales.close_windows(PARTITIONS)
        job.cluster.wait_for_lag_zero(job.sources, item)
        _wait_until_closed(job, item)
        assert item.stop(60) == 0, item.log_tail()
        job.check()
    if slice_bytes == IN_SLICES:
        assert _half_closed(job), "each window was closed at once"


def _half_closed(job: Job) -> int:
    """How many checkpoints have left a window that was being closed."""
    metas = [
        msgspec.json.decode(message.value(), type=Meta)
        for message in job.cluster.read(names.changelog_topic(job.app_id, "user_totals"))
        if message.key() == META_KEY
    ]
    return sum(any(build.closes for build in meta.builds.values()) for meta in metas)


def _wait_until_closed(job: Job, item: Worker) -> None:
    """All windows have been closed, which goes on after the last event has been read."""
    model = Model(SourceLog(job.cluster.read(job.sources[0]), set()).on_time)
    for topic, rows in (("user-totals", model.users), ("country-totals", model.countries)):
        deadline = time.monotonic() + 120
        while len(job.cluster.read(job.topic(topic))) < len(rows):
            assert item.running, item.log_tail()
            assert time.monotonic() < deadline, f"{topic}:\n{item.log_tail()}"

"""`faust -A app replay` on a real broker: each dead letter once, whatever is asked for and however often."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.kafka.running_job import Job
from tests.kafka.sales import POISON
from tests.kafka.workers import ROOT

pytestmark = pytest.mark.kafka

MENDED = {"TEST_MENDED": "1"}


def replay(job: Job, *options: str, **environment: str) -> str:
    """Run the command; gives what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "tests.kafka.job", "replay", *options],
        cwd=ROOT,
        env={**os.environ, **job.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    return said


def test_schema_and_agent_mended(broker: str, tmp_path: Path) -> None:
    job = Job(broker, tmp_path)
    job.environment["HEADRACE_CHECKPOINT_INTERVAL_MS"] = "20"
    with job.worker() as item:
        sales = job.first_sales(item, seed=4)
        sales.write(300)
        sales.write(40, country=False)
        first = sales.sequence
        sales.write(5, amount=POISON)
        poisoned = set(range(first, sales.sequence))
        sales.write(300)
        sales.flush()
        job.cluster.wait_for_lag_zero(job.sources, item)
        before = _passed(job)
        assert "45 to replay" in replay(job, "--dry-run")
        said = replay(job, "--topic", job.sources[0], "--reason", "country")
        assert "40 replayed" in said  # they fail again, for nothing is mended yet
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert _passed(job) == before
        assert "45 to replay" in replay(job, "--dry-run"), (
            "those that failed again can be replayed again"
        )
        assert item.stop() == 0
        item.environment |= MENDED
        item.start()
        assert "5 replayed" in replay(job, "--reason", "poison", **MENDED)
        assert "none to replay" in replay(job, "--reason", "poison", **MENDED)
        said = replay(job, **MENDED)
        assert "40 replayed" in said, said
        for _ in range(2):
            assert "none to replay" in replay(job, **MENDED)
        job.cluster.wait_for_lag_zero(job.sources, item)
        sales.close_windows(4)
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert item.stop() == 0
    assert set(_passed(job)) == set(sales.amounts)
    assert max(_passed(job).values()) == 1
    assert poisoned <= set(_passed(job))


def _passed(job: Job) -> Counter[object]:
    return Counter(row["sequence"] for row in job.cluster.read_json(job.topic("passed")))

"""The whole job on a real broker, with workers and brokers that are killed: every event counts once."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.kafka.running_job import Job, writing
from tests.own_broker import own_broker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka


@pytest.fixture
def job(broker: str, tmp_path: Path) -> Job:
    made = Job(broker, tmp_path)
    made.environment["HEADRACE_CHECKPOINT_INTERVAL_MS"] = "50"  # so that a kill often hits one
    return made


def test_whole_job(job: Job) -> None:
    with job.worker() as item:
        sales = job.first_sales(item, seed=1)
        sales.write(20_000)
        job.finish(item, sales)
        assert item.stop() == 0


def test_killed_at_random_moments(job: Job, full_faults: bool) -> None:
    """SIGKILL again and again while a generator writes; then totals are equal and nothing came twice.

    After every second kill the data directory is gone, too. Each time the worker comes back on another web port, as
    when another process has taken its own: the group gives it the assignment that it had.
    """
    chance = random.Random(seed := new_seed())
    with job.worker() as item:
        sales = job.first_sales(item, seed)
        with writing(sales):
            for number in range(12 if full_faults else 4):
                job.wait_for_progress(item)
                time.sleep(chance.uniform(0, 0.4))  # the moment is what is random
                item.kill()
                if number % 2:
                    job.lose_data()
                item.environment["HEADRACE_WEB_PORT"] = str(7600 + number)
                item.start()
        job.finish(item, sales)


def test_broker_killed_under_load(tmp_path: Path, full_faults: bool) -> None:
    """The broker is killed and comes back with its data; the worker goes on by itself."""
    chance = random.Random(seed := new_seed())
    with own_broker(tmp_path / "kafka") as broker:
        job = Job(broker.bootstrap_servers, tmp_path)
        with job.worker() as item:
            sales = job.first_sales(item, seed)
            with writing(sales):
                for _ in range(3 if full_faults else 1):
                    job.wait_for_progress(item)
                    time.sleep(chance.uniform(0, 0.4))
                    assert broker.pid is not None
                    os.kill(broker.pid, signal.SIGKILL)
                job.wait_for_progress(item)
            job.finish(item, sales, in_order=False)


def test_what_is_staged_is_bounded(job: Job) -> None:
    """A checkpoint comes long before its time when there is so much for it."""
    job.environment |= {
        "HEADRACE_CHECKPOINT_INTERVAL_MS": "60000",
        "HEADRACE_TRANSACTION_TIMEOUT_MS": "90000",
        "HEADRACE_WATCHDOG_STALL_MS_MAX": "120000",
        "HEADRACE_CHECKPOINT_DELTA_MB_MAX": "1",
    }
    with job.worker() as item:
        sales = job.first_sales(item, new_seed())
        for _ in range(2):
            began, before = time.monotonic(), sum(job.cluster.committed(job.sources[0]).values())
            while sum(job.cluster.committed(job.sources[0]).values()) == before:
                assert time.monotonic() - began < 45, item.log_tail()
                sales.write(5_000)
                sales.flush()
        assert item.stop(60) == 0, item.log_tail()


def test_a_worker_that_must_end_commits_nothing_behind_the_checkpoint_that_it_lost(
    job: Job, tmp_path: Path, full_faults: bool
) -> None:
    """Its shutdown publishes nothing more: that would pass over the events of the lost checkpoint."""
    fuse = tmp_path / "fuse"
    job.environment["TEST_FUSE"] = str(fuse)
    with job.worker("tests.kafka.failing_job") as item:
        sales = job.first_sales(item, seed=new_seed())
        with writing(sales):
            for _ in range(3 if full_faults else 1):
                job.wait_for_progress(item)
                fuse.touch()
                assert item.process is not None
                assert item.process.wait(60) != 0
                assert not fuse.exists()
                item.start()
            job.wait_for_progress(item)
        job.finish(item, sales)

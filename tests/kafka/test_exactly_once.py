"""The whole job on a real broker, with workers that are killed: every event counts exactly once."""

from __future__ import annotations

import random
import shutil
import threading
import time
import uuid
from pathlib import Path

import pytest

from app.engine import names
from tests.kafka.sales import Sales, only_once
from tests.kafka.workers import Cluster, Worker, worker

pytestmark = pytest.mark.kafka
PARTITIONS = 4


class Job:
    """One application of its own on the shared broker."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.app_id = f"job-{uuid.uuid4().hex[:8]}"
        self.broker = broker
        self.data_dir = folder / "data"
        self.environment = {
            "HEADRACE_BROKER": broker,
            "HEADRACE_APP_ID": self.app_id,
            "HEADRACE_DATA_DIR": str(self.data_dir),
            "HEADRACE_WEB_ENABLED": "false",
            "HEADRACE_CHECKPOINT_INTERVAL_MS": "50",
        }
        self.cluster = Cluster(broker, self.app_id)
        self.log = folder / "worker.log"
        self.sources = [
            f"{self.app_id}-sales",
            names.repartition_topic(self.app_id, "country_totals"),
        ]

    def worker(self) -> Worker:
        return worker("tests.kafka.job", self.environment, self.log)

    def topic(self, name: str) -> str:
        return f"{self.app_id}-{name}"

    def wait_for_progress(self, item: Worker, timeout_s: float = 90) -> None:
        """Wait until the group commits further offsets."""
        deadline = time.monotonic() + timeout_s
        before = None
        while time.monotonic() < deadline:
            assert item.running, item.log_tail()
            now = sum(self.cluster.committed(self.sources[0]).values()) if self._exists() else 0
            if before is not None and now > before:
                return
            before = now
            time.sleep(0.02)
        raise AssertionError(f"no progress in {timeout_s} s:\n{item.log_tail()}")

    def _exists(self) -> bool:
        return bool(self.cluster.partitions(self.sources[0]))

    def check(self, sales: Sales) -> None:
        """Every derived event once, every total right, to a read-committed reader."""
        passed = only_once(
            [
                (row["sequence"], row["amount"])
                for row in self.cluster.read_json(self.topic("passed"))
            ]
        )
        assert passed == sales.amounts
        users = only_once(
            [
                ((row["user"], row["window_start"]), (row["sales"], row["amount"], row["largest"]))
                for row in self.cluster.read_json(self.topic("user-totals"))
            ]
        )
        assert users == sales.expected_users()
        countries = only_once(
            [
                ((row["country"], row["window_start"]), (row["sales"], row["amount"]))
                for row in self.cluster.read_json(self.topic("country-totals"))
            ]
        )
        assert countries == sales.expected_countries()
        for table in ("user_totals", "country_totals"):
            assert self.cluster.read(names.late_topic(self.app_id, table)) == []
        assert self.cluster.read(names.dead_letter_topic(self.app_id)) == []


@pytest.fixture
def job(broker: str, tmp_path: Path) -> Job:
    return Job(broker, tmp_path)


def test_whole_job(job: Job) -> None:
    with job.worker() as item:
        sales = _first_sales(job, item, seed=1)
        sales.write(20_000)
        sales.flush()
        sales.close_windows(PARTITIONS)
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert item.stop() == 0
    job.check(sales)


@pytest.mark.parametrize("lose_data", [False, True], ids=["data-kept", "data-lost"])
def test_killed_at_random_moments(job: Job, lose_data: bool) -> None:
    """SIGKILL ten times while a generator writes; then totals are equal and nothing came twice."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201 - shown by pytest when the test fails
    chance = random.Random(seed)
    with job.worker() as item:
        sales = _first_sales(job, item, seed)
        stop = threading.Event()
        writer = threading.Thread(target=_write_until, args=(sales, stop))
        writer.start()
        try:
            for _ in range(10):
                job.wait_for_progress(item)
                time.sleep(chance.uniform(0, 0.4))  # the moment is what is random
                item.kill()
                if lose_data:
                    shutil.rmtree(job.data_dir)
                item.start()
        finally:
            stop.set()
            writer.join()
        sales.flush()
        sales.close_windows(PARTITIONS)
        job.cluster.wait_for_lag_zero(job.sources, item)
    job.check(sales)


def _first_sales(job: Job, item: Worker, seed: int) -> Sales:
    """Wait until the worker has made its topics, then begin to write."""
    deadline = time.monotonic() + 60
    while not job.cluster.partitions(job.sources[0]):
        assert item.running, item.log_tail()
        assert time.monotonic() < deadline, item.log_tail()
        time.sleep(0.05)
    return Sales(job.broker, job.sources[0], seed)


def _write_until(sales: Sales, stop: threading.Event) -> None:
    while not stop.is_set():
        sales.write(200)
        sales.flush()
        stop.wait(0.01)

"""A source partition to which nobody writes, under a repartitioned table, with real workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kafka.running_job import PARTITIONS, Job
from tests.kafka.sales import Model
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

SILENT = 0


@pytest.mark.parametrize("killed", [False, True])
def test_windows_close_without_it_and_what_was_counted_is_deleted(
    broker: str, tmp_path: Path, killed: bool
) -> None:
    """killed: before the partition is idle, so that the next worker must find it out."""
    job = Job(broker, tmp_path)
    job.environment["HEADRACE_IDLE_PARTITION_MS"] = "3000"
    with job.worker("tests.kafka.purging_job") as item:
        sales = job.first_sales(item, new_seed())
        sales.write(2_000)
        sales.close_windows(PARTITIONS, silent=[SILENT])
        job.cluster.wait_for_lag_zero(job.sources, item)
        if killed:
            item.kill()
            item.start()
        expected = Model(job.cluster.read_json(job.sources[0])).countries
        _wait(
            item, lambda: len(job.cluster.read_json(job.topic("country-totals"))) == len(expected)
        )
        _wait(item, lambda: all(job.cluster.starts(job.sources[1]).values()))
        job.finish(item, sales)  # it wakes up


def _wait(item: Worker, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert item.running and time.monotonic() < deadline, item.log_tail()
        time.sleep(0.2)

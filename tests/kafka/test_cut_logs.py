"""Logs that are cut by their retention before a worker has read them: what is lost is told, and the rest counts."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.kafka.processing.purge import Purge
from tests.kafka.running_job import Job, sums, writing
from tests.kafka.sales import only_once
from tests.kafka.table_rows import table_rows
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka
KEPT = 10
"""Of each partition's events, when its log is cut."""
HELD_S = 0.5
"""The broker holds a worker's last fetch for 0.05 s, and would answer it with what is written meanwhile."""


def _lost(item: Worker) -> list[dict[str, Any]]:
    lines = item.log_path.read_bytes().split(b"\n")[:-1]
    return [event for event in map(orjson.loads, lines) if event["event"] == "offsets.lost"]


def test_all_partitions_are_cut_under_a_running_worker(broker: str, tmp_path: Path) -> None:
    """Each that lacks something is told once. What was read before and not committed yet counts."""
    job = Job(broker, tmp_path)
    job.environment["TEST_TABLES"] = "user_sums"
    source = job.sources[0]
    with job.worker() as item:
        sales = job.first_sales(item, new_seed())
        sales.write(1_000)
        sales.flush()
        job.cluster.wait_for_lag_zero([source], item)
        item.signal(signal.SIGSTOP)
        time.sleep(HELD_S)
        sales.write(2_000)
        sales.flush()
        cuts = {(source, number): end - KEPT for number, end in job.cluster.ends(source).items()}
        asyncio.run(Purge(broker, {source}).run(cuts))
        item.signal(signal.SIGCONT)
        with writing(sales):
            deadline = time.monotonic() + 60
            while not _lost(item):
                assert time.monotonic() < deadline, item.log_tail()
                assert item.running, item.log_tail()
                time.sleep(0.05)
        sales.flush()
        job.cluster.wait_for_lag_zero([source], item)
        assert item.stop(60) == 0, item.log_tail()
    lost = _lost(item)
    found = only_once([((line["topic"], line["partition"]), line["next"]) for line in lost])
    assert found.items() <= cuts.items()
    assert len(found) > 1, "they are looked after together"
    written = sum(job.cluster.ends(source).values())
    rows = table_rows(job.environment, sorted(job.data_dir.glob("state/*/*/rocksdb")))["user_sums"]
    counted = sum(count for count, _ in sums(rows).values())  # type: ignore[misc,attr-defined]
    assert counted == written - sum(line["next"] - line["first"] for line in lost)

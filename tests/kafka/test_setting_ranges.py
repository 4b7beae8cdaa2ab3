"""A real worker with the settings that are numbers at the least, and at the largest, that is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings, variable
from tests.kafka.running_job import Job, writing
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

NOT_HERE = {
    "topic_partitions",  # 1,024 of each topic
    "topic_replication",  # the embedded broker takes 1
    "web_port",
    "checkpoint_interval_ms",  # a test would wait for minutes
}
LEAST = {
    "session_timeout_ms": 6000,  # which Kafka refuses to have less
    "heartbeat_interval_ms": 1000,
    "watchdog_stall_ms_max": 60_000,  # above what a start takes here
}


def _ranges() -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for name, field in Settings.model_fields.items():
        limits = {
            key: getattr(item, key)
            for item in field.metadata
            for key in ("ge", "le")
            if hasattr(item, key)
        }
        if limits.keys() == {"ge", "le"} and name not in NOT_HERE:
            found[name] = (limits["ge"], limits["le"])
    assert len(found) > 20
    return found


@pytest.mark.parametrize("which", ["least", "largest"])
def test_a_worker_counts_on(broker: str, tmp_path: Path, which: str) -> None:
    if which == "least":
        values = {name: least for name, (least, _) in _ranges().items()} | LEAST
    else:
        values = {name: largest for name, (_, largest) in _ranges().items()}
    job = Job(broker, tmp_path)
    job.environment |= {variable(name): str(value) for name, value in values.items()}
    with job.worker() as item:
        sales = job.first_sales(item, new_seed())
        with writing(sales):
            job.wait_for_progress(item)
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert item.stop(90) == 0, item.log_tail()

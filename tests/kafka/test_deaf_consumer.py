"""A consumer that dies without a word when it has read everything: what it last knew is that nothing waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.monitoring.watchdog import EXIT_CODE
from tests.kafka.running_job import Job
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka


def test_it_is_noticed_and_the_next_start_goes_on(broker: str, tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    job = Job(broker, tmp_path)
    job.environment |= {
        "TEST_DEAF": str(deaf),
        "HEADRACE_TRANSACTION_TIMEOUT_MS": "4000",
        "HEADRACE_WATCHDOG_STALL_MS_MAX": "5000",
    }
    with job.worker("tests.kafka.deaf_job") as item:
        sales = job.first_sales(item, new_seed())
        sales.write(1_000)
        sales.flush()
        job.cluster.wait_for_lag_zero(job.sources, item)
        deaf.touch()
        assert item.wait(60) == EXIT_CODE
        assert "not read, for" in item.log_tail()
        assert "app.kafka.processing.pump" in item.log_tail(60_000), "where its tasks stood"
        deaf.unlink()
        sales.write(1_000)
        item.start()
        job.finish(item, sales)

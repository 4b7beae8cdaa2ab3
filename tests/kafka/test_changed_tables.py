"""A real worker whose table gets a column, and loses it again: nothing is lost, and each change is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kafka.running_job import Job, writing
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka


def test_a_column_comes_and_goes(broker: str, tmp_path: Path) -> None:
    """And another window is refused, before all this."""
    seed = new_seed()
    job = Job(broker, tmp_path)
    with job.worker() as item:
        sales = job.first_sales(item, seed)
        with writing(sales):
            job.wait_for_progress(item)
        job.cluster.wait_for_lag_zero(job.sources, item)  # both tables have state
        item.kill()
        _other_window_is_refused(job, item)
        for more, added, dropped in (("1", "smallest", "nothing"), ("", "nothing", "smallest")):
            item.environment["TEST_MORE_COLUMNS"] = more
            job.log.write_text("")
            if more:  # from the changelog alone
                job.lose_data()
            item.start()
            with writing(sales):
                job.wait_for_progress(item)
                item.kill()
            told = [
                line for line in item.log_tail(1 << 20).splitlines() if "table.migrated" in line
            ]
            assert told
            for part in ("country_totals", f'"added": "{added}"', f'"dropped": "{dropped}"'):
                assert all(part in line for line in told)
        item.start()
        with writing(sales):
            job.wait_for_progress(item)
        job.finish(item, sales)


def _other_window_is_refused(job: Job, item: Worker) -> None:
    """In one line, and nothing is lost."""
    job.log.write_text("")
    item.environment["TEST_WINDOW"] = "6s"
    item.start()
    assert item.wait(90) == os.EX_CONFIG
    assert "give the new definition a new name" in item.log_tail()
    assert "Traceback" not in item.log_tail(1 << 20)
    del item.environment["TEST_WINDOW"]

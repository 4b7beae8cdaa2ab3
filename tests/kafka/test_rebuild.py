"""`faust -A app rebuild TABLE` on a broker: nothing is lost, nothing comes twice, and no half a table is used."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from app.engine import names
from tests.kafka.rebuilding import rebuild, rebuilt
from tests.kafka.running_job import PARTITIONS, Job, writing
from tests.kafka.sales import LARGE, Model, only_once
from tests.kafka.source_log import SourceLog
from tests.kafka.table_rows import table_rows
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka


def _refused(item: Worker, job: Job, message: str) -> None:
    """The worker starts, and ends with one line that says so."""
    job.log.write_text("")
    item.start()
    assert item.wait(90) == os.EX_CONFIG, item.log_tail()
    assert message in item.log_tail()
    assert "Traceback" not in item.log_tail(1 << 20)


def test_rebuilt_while_windows_are_open(broker: str, tmp_path: Path) -> None:
    """After a kill, with partial aggregates on their way; and once more after the rebuild was killed itself.

    While a worker runs it is refused.
    """
    seed = new_seed()
    job = Job(broker, tmp_path)
    with job.worker() as item:
        sales = job.first_sales(item, seed)
        with writing(sales):
            job.wait_for_progress(item)
            code, said, complained = rebuilt(job, "user_totals")
            assert code == 1, said
            assert f"workers of '{job.app_id}' run" in complained
            assert "stop all of them" in complained
            assert complained.count("\n") == 1
            job.wait_for_progress(item)
            item.kill()
        process = rebuild(job, "country_totals")
        assert process.stdout is not None
        while "country_totals: 0 %" not in (line := process.stdout.readline()):
            assert line, process.communicate()
        process.kill()
        process.communicate()
        _refused(item, job, "table 'country_totals' is being rebuilt, or that was interrupted")
        for table in ("user_totals", "country_totals"):
            code, said, complained = rebuilt(job, table)
            assert code == 0, said + complained
            assert f"{table}: 100 %" in said
            assert f"rebuilt {table} from " in said
            assert complained == ""
        item.start()
        with writing(sales):
            job.wait_for_progress(item)
            item.kill()
        job.lose_data()
        item.start()
        with writing(sales):
            job.wait_for_progress(item)
        job.finish(item, sales)


def test_a_table_that_an_agent_feeds(broker: str, tmp_path: Path) -> None:
    """The agent runs over the past again: windows that were open have all of it, those that were closed stay so."""
    seed = new_seed()
    job = Job(broker, tmp_path)
    job.environment["TEST_TABLES"] = "large_totals"
    job.sources[1] = names.repartition_topic(job.app_id, "large_totals")
    with job.worker() as item:
        sales = job.first_sales(item, seed)
        sales.write(7_000)  # more than a window
        with writing(sales):
            job.wait_for_progress(item)
            job.wait_for_progress(item)
        job.cluster.wait_for_lag_zero(job.sources, item)
        item.kill()
        assert job.cluster.read(job.topic("large-totals")), "no window was closed before"
        passed = len(job.cluster.read(job.topic("passed")))
        code, said, complained = rebuilt(job, "large_totals")
        assert code == 0, said + complained
        assert len(job.cluster.read(job.topic("passed"))) == passed, "the rebuild has emitted"
        item.start()
        with writing(sales):
            job.wait_for_progress(item)
        sales.flush()
        sales.close_windows(PARTITIONS)
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert item.stop(60) == 0, item.log_tail()
    log = SourceLog(job.cluster.read(job.sources[0]), set())
    model = Model(sale for sale in log.on_time if sale["amount"] >= LARGE)
    found = only_once(
        [
            ((row["country"], row["window_start"]), (row["sales"], row["amount"]))
            for row in job.cluster.read_json(job.topic("large-totals"))
        ]
    )
    assert found == model.countries


def test_from_a_time_on(broker: str, tmp_path: Path) -> None:
    """Counted is what has come since, by the records' times, and what comes later."""
    job = Job(broker, tmp_path)
    job.environment["TEST_TABLES"] = "user_sums"
    with job.worker() as item:
        sales = job.first_sales(item, new_seed())
        sales.write(3_000)
        since = datetime.fromtimestamp(sales.now / 1000, UTC)
        sales.write(3_000)
        sales.flush()
        job.cluster.wait_for_lag_zero(job.sources[:1], item)
        assert item.stop(60) == 0, item.log_tail()
        code, said, complained = rebuilt(job, "user_sums", "--from", since.isoformat())
        assert code == 0, said + complained
        item.start()
        sales.write(1_000)
        sales.flush()
        job.cluster.wait_for_lag_zero(job.sources[:1], item)
        assert item.stop(60) == 0, item.log_tail()
    expected: dict[object, list[int]] = {}
    for message in job.cluster.read(job.sources[0]):
        if message.timestamp()[1] >= since.timestamp() * 1000:
            sale = orjson.loads(message.value())
            expected.setdefault(sale["user"], []).append(sale["amount"])
    found = {
        row["user"]: (row["sales"], row["amount"])
        for row in table_rows(job.environment)["user_sums"]
    }
    assert found == {user: (len(item), sum(item)) for user, item in expected.items()}


def test_what_it_says_before_there_is_anything(broker: str, tmp_path: Path) -> None:
    job = Job(broker, tmp_path)
    code, _, complained = rebuilt(job, "nonsense")
    assert code == 2
    assert (
        complained
        == "headrace: there is no table 'nonsense'; there are: country_totals, user_sums, user_totals\n"
    )
    code, _, complained = rebuilt(job, "user_totals", "--from", "noon")
    assert code == 2
    assert "'noon' is no time such as 2024-05-31T12:00" in complained
    code, _, complained = rebuilt(job, "user_totals")
    assert code == 1
    assert "has committed nothing" in complained

"""A topic gets more partitions under a running table."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from app.engine import names
from app.engine.aggregates.aggregate import EVENTS
from app.engine.language.table import PANE
from tests.kafka.running_job import PARTITIONS, Job, writing
from tests.kafka.sales import SIZE_MS, Model, Sales, only_once
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka
MORE = PARTITIONS + 2
LOOK_MS = "CONSUMER_METADATA_MAX_AGE_MS"
"""How often Faust's consumer looks what partitions there are: every five minutes, if it is not told."""


def _grow(job: Job, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": job.broker})
    (future,) = admin.create_partitions([NewPartitions(topic, MORE)]).values()
    future.result(30)


def test_a_table_by_its_topics_key_is_refused(broker: str, tmp_path: Path) -> None:
    """At once, before anything is committed that a producer has put into another partition than before."""
    job = Job(broker, tmp_path)
    with job.worker() as item:
        sales = job.first_sales(item, seed=1)
        with writing(sales):
            job.wait_for_progress(item)
        _grow(job, job.sources[0])
        anew = Sales(broker, job.sources[0], seed=2)  # its producer knows of the new partitions
        with writing(anew):
            assert item.wait(90) == os.EX_CONFIG
        assert f"topic {job.sources[0]} has {MORE} partitions now, and had {PARTITIONS}" in (
            item.log_tail()
        )
        assert "Traceback" not in item.log_tail(1 << 20)
        committed = job.cluster.committed(job.sources[0])
        places: dict[str, set[int]] = defaultdict(set)
        for message in job.cluster.read(job.sources[0]):
            if message.offset() < committed[message.partition()]:
                places[orjson.loads(message.value())["user"]].add(message.partition())
        assert places
        assert all(len(found) == 1 for found in places.values())
        job.log.write_text("")
        item.start()
        assert item.wait(90) == os.EX_CONFIG
        changelog = f"{job.app_id}.user_totals.changelog"
        assert f"{MORE} partitions, and {changelog}" in item.log_tail()
        assert "give the table a new name" in item.log_tail()


def test_a_repartitioned_table_goes_on(broker: str, tmp_path: Path) -> None:
    job = Job(broker, tmp_path)
    job.environment["TEST_TABLES"] = "country_totals"
    with job.worker() as item:
        sales = job.first_sales(item, seed=1)
        with writing(sales):
            job.wait_for_progress(item)
        assert item.stop() == 0
        _grow(job, job.sources[0])
        anew = Sales(broker, job.sources[0], seed=2, start_ms=sales.now)
        anew.write(2000)
        item.start()
        with writing(anew):
            job.wait_for_progress(item)
        anew.flush()
        anew.close_windows(MORE)
        job.cluster.wait_for_lag_zero(job.sources, item)
        model = Model(job.cluster.read_json(job.sources[0]))
        assert _countries(job) == model.countries


def test_a_repartitioned_table_goes_on_while_its_worker_runs(broker: str, tmp_path: Path) -> None:
    """Until it has heard of the new partitions they hold no window open: what comes of them for closed ones is late."""
    job = Job(broker, tmp_path)
    job.environment |= {
        "TEST_TABLES": "country_totals",
        "HEADRACE_IDLE_PARTITION_MS": "60000",  # on a busy machine none is to be taken for idle
        LOOK_MS: "15000",  # the first windows have closed by then, mostly
    }
    with job.worker() as item:
        sales = job.first_sales(item, seed := new_seed())
        with writing(sales):
            job.wait_for_progress(item)
        _grow(job, job.sources[0])
        anew = Sales(broker, job.sources[0], seed + 1, start_ms=sales.now)
        anew.write(3 * SIZE_MS)
        with writing(anew):
            _wait_for_the_new_ones(job, item)
            heard_at = anew.now
            job.wait_for_progress(item)
        anew.write(2 * SIZE_MS)
        anew.flush()
        anew.close_windows(MORE)
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert item.stop(60) == 0, item.log_tail()
    source = job.cluster.read_json(job.sources[0])
    counted = _countries(job)
    late = job.cluster.read_json(names.late_topic(job.app_id, "country_totals"))
    assert all(row[PANE] <= heard_at for row in late)
    for row in late:
        sales_before, amount_before = counted.get(key := (row["country"], row[PANE]), (0, 0))
        counted[key] = sales_before + row[EVENTS], amount_before + row["amount"]
    assert counted == Model(source).countries
    passed = job.cluster.read_json(job.topic("passed"))
    assert Counter(map(_sale, passed)) == Counter(map(_sale, source))


def _countries(job: Job) -> dict[Any, Any]:
    """Sales and amount of each country and window that has been emitted, each once."""
    return only_once(
        [
            ((row["country"], row["window_start"]), (row["sales"], row["amount"]))
            for row in job.cluster.read_json(job.topic("country-totals"))
        ]
    )


def _sale(row: dict[str, Any]) -> tuple[object, ...]:
    return row["user"], row["sequence"], row["amount"]


def _wait_for_the_new_ones(job: Job, item: Worker) -> None:
    """Wait until something of each new partition is committed."""
    deadline = time.monotonic() + 180
    while not all(map(job.cluster.committed(job.sources[0]).get, range(PARTITIONS, MORE))):
        assert item.running and time.monotonic() < deadline, item.log_tail()
        time.sleep(0.05)


def test_a_repartition_topic_must_not_grow(broker: str, tmp_path: Path) -> None:
    job = Job(broker, tmp_path)
    job.environment[LOOK_MS] = "2000"
    repartition = job.sources[1]
    with job.worker() as item:
        sales = job.first_sales(item, new_seed())
        with writing(sales):
            job.wait_for_progress(item)
            _grow(job, repartition)
            assert item.wait(180) == os.EX_CONFIG
        assert f"topic {repartition} has got partitions, and had {PARTITIONS}" in item.log_tail()
        assert "give it a new name" in item.log_tail()
        assert "Traceback" not in item.log_tail(1 << 20)
        job.log.write_text("")
        item.start()
        assert item.wait(90) == os.EX_CONFIG
        assert f"topic {repartition} has {MORE} partitions, and " in item.log_tail()
        assert "give the table a new name" in item.log_tail()


@pytest.mark.parametrize("table", ["user_totals", "country_totals"])
def test_a_changelog_must_not_grow(broker: str, tmp_path: Path, table: str) -> None:
    """Its new partitions are nobody's: the worker that runs counts on in the old ones, and the next is refused."""
    job = Job(broker, tmp_path)
    changelog = names.changelog_topic(job.app_id, table)
    with job.worker() as item:
        sales = job.first_sales(item, new_seed())
        with writing(sales):
            job.wait_for_progress(item)
            _grow(job, changelog)
            job.wait_for_progress(item)
        job.finish(item, sales)
        job.log.write_text("")
        item.start()
        assert item.wait(90) == os.EX_CONFIG
        assert f"partitions, and {changelog}, " in item.log_tail()
        assert f"has {MORE}" in item.log_tail()
        assert "give the table a new name" in item.log_tail()
        assert "Traceback" not in item.log_tail(1 << 20)

"""A topic gets more partitions under a running table."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import orjson
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from tests.kafka.running_job import PARTITIONS, Job, writing
from tests.kafka.sales import Model, Sales, only_once

pytestmark = pytest.mark.kafka
MORE = PARTITIONS + 2


def _grow(job: Job) -> None:
    admin = AdminClient({"bootstrap.servers": job.broker})
    (future,) = admin.create_partitions([NewPartitions(job.sources[0], MORE)]).values()
    future.result(30)


def test_a_table_by_its_topics_key_is_refused(broker: str, tmp_path: Path) -> None:
    """At once, before anything is committed that a producer has put into another partition than before."""
    job = Job(broker, tmp_path)
    with job.worker() as item:
        sales = job.first_sales(item, seed=1)
        with writing(sales):
            job.wait_for_progress(item)
        _grow(job)
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
        _grow(job)
        anew = Sales(broker, job.sources[0], seed=2, start_ms=sales.now)
        anew.write(2000)
        item.start()
        with writing(anew):
            job.wait_for_progress(item)
        anew.flush()
        anew.close_windows(MORE)
        job.cluster.wait_for_lag_zero(job.sources, item)
        model = Model(job.cluster.read_json(job.sources[0]))
        countries = only_once(
            [
                ((row["country"], row["window_start"]), (row["sales"], row["amount"]))
                for row in job.cluster.read_json(job.topic("country-totals"))
            ]
        )
        assert countries == model.countries

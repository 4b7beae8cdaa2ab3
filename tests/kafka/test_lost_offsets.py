"""A group whose committed offsets are gone, as Kafka drops them a week after the last worker has left, or wrong."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.kafka.rebuilding import rebuilt
from tests.kafka.running_job import Job, writing
from tests.kafka.source_log import SourceLog
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka
ALL = "user_totals,country_totals,user_sums"


def _refused(job: Job, item: Worker, message: str) -> None:
    job.log.write_text("")
    item.start()
    assert item.wait(90) == os.EX_CONFIG, item.log_tail()
    assert message in item.log_tail()
    assert "a new name" in item.log_tail()
    assert "Traceback" not in item.log_tail(1 << 20)


def _set(admin: AdminClient, group: str, offsets: list[TopicPartition]) -> None:
    """Commit these offsets, once the group has forgotten its last member."""
    deadline = time.monotonic() + 60
    while admin.describe_consumer_groups([group])[group].result(30).members:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (done,) = admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, offsets)]
    ).values()
    assert not any(here.error for here in done.result(30).topic_partitions)


@pytest.mark.parametrize("tables", [ALL, "country_totals"])
def test_nothing_counts_twice(broker: str, tmp_path: Path, tables: str) -> None:
    """What is counted is not read again, from the start or from any earlier offset.

    With the offsets set back it goes on as if nothing had been; a table that is repartitioned, and tells by what its
    partitions have been sent, is rebuilt first: what was noted beside them for it is gone.
    """
    job = Job(broker, tmp_path)
    job.environment |= {
        "TEST_TABLES": tables,
        "HEADRACE_LEAVE_ON_STOP": "true",
        "HEADRACE_SESSION_TIMEOUT_MS": "6000",
    }
    source = job.sources[0]
    admin = AdminClient({"bootstrap.servers": broker})
    with job.worker() as item:
        sales = job.first_sales(item, new_seed())
        with writing(sales):
            job.wait_for_progress(item)
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert item.stop(60) == 0, item.log_tail()
        (kept,) = admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(job.app_id)]
        ).values()
        offsets = kept.result(30).topic_partitions
        (gone,) = admin.delete_consumer_groups([job.app_id]).values()
        gone.result(30)
        _refused(job, item, f"no committed offset of {job.app_id}")
        if tables == "country_totals":
            _set(admin, job.app_id, [here for here in offsets if here.topic != source])
            _refused(job, item, f"no committed offset of {source}/")
        assert not any(job.cluster.committed(source).values()), "it has begun anew"
        earlier = [
            TopicPartition(here.topic, here.partition, here.offset - (here.topic == source))
            for here in offsets
        ]
        _set(admin, job.app_id, earlier)
        _refused(job, item, "set by hand" if tables == "country_totals" else "reset by hand")
        _set(admin, job.app_id, offsets)
        _refused(job, item, "set by hand")
        code, said, complained = rebuilt(job, "country_totals")
        assert code == 0, said + complained
        item.start()
        with writing(sales):
            job.wait_for_progress(item)
        if tables == ALL:
            job.finish(item, sales)
        else:
            job.drain(item, sales)
            job.check_countries(SourceLog(job.cluster.read(source), set()))

"""What has been counted is deleted from the internal topics, on a real broker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from app.kafka.offsets import PartitionEnds
from app.kafka.processing.purge import Purge
from app.kafka.topics import TopicNeed, ensure_topics

pytestmark = pytest.mark.kafka

RECORDS = 10


@pytest.fixture
def partitions(broker: str, topic_name: Callable[..., str]) -> list[tuple[str, int]]:
    """Two partitions of ten records each."""
    name = topic_name("counted")
    ensure_topics(broker, [TopicNeed(name)], partitions=2, replication=1)
    producer = Producer({"bootstrap.servers": broker})
    for partition in range(2):
        for number in range(RECORDS):
            producer.produce(name, str(number), partition=partition)
    assert producer.flush(30) == 0
    return [(name, 0), (name, 1)]


async def test_deletes_below_what_is_committed(
    broker: str, partitions: list[tuple[str, int]]
) -> None:
    first, second = partitions
    purge = Purge(broker, {first[0]})
    await purge.run({first: 4, second: RECORDS, ("another", 0): 7})
    ends = PartitionEnds(broker, "test", timeout_s=30)
    assert ends.starts(partitions) == {first: 4, second: RECORDS}
    await purge.run({first: 4, second: RECORDS})
    await purge.run({first: RECORDS, second: RECORDS})
    assert ends.starts(partitions) == dict.fromkeys(partitions, RECORDS)
    assert ends.ends(partitions) == dict.fromkeys(partitions, RECORDS)


async def test_goes_on_after_a_refusal(broker: str, partitions: list[tuple[str, int]]) -> None:
    first, second = partitions
    purge = Purge(broker, {first[0]})
    await purge.run({first: RECORDS + 1})  # beyond the end
    await purge.run({first: 5, second: 5})
    ends = PartitionEnds(broker, "test", timeout_s=30)
    assert ends.starts(partitions) == {first: 5, second: 5}


async def test_without_a_broker(topic_name: Callable[..., str]) -> None:
    topic = topic_name("counted")
    await Purge("127.0.0.1:1", {topic}).run({(topic, 0): 5})

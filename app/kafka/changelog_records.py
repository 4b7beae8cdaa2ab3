"""What a changelog holds now, without its segments: enough to replace it."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from app.engine import names
from app.engine.definition import DEFINITION_KEY
from app.engine.rebuild import Earlier
from app.engine.table_partition import META_KEY
from app.kafka.offsets import PartitionEnds


def earlier_state(
    bootstrap_servers: str, app_id: str, table: str, partitions: int, *, timeout_s: float
) -> dict[int, Earlier]:
    """Read a table's changelog, read-committed, to the high watermark (blocks).

    KafkaException: it cannot be read. TimeoutError: a transaction stays open.
    """
    topic = names.changelog_topic(app_id, table)
    here = [(topic, number) for number in range(partitions)]
    ends = PartitionEnds(bootstrap_servers, app_id, timeout_s=timeout_s).ends(here)
    left = {number: end for (_, number), end in ends.items() if end > 0}
    live: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"{app_id}-rebuild",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        if left:
            consumer.assign([TopicPartition(topic, number, 0) for number in left])
        heard_at = time.monotonic()
        while left:
            for message in consumer.consume(1000, 0.5):
                error, number = message.error(), message.partition()
                if error is None:
                    heard_at = time.monotonic()
                    key, value = message.key(), message.value()
                    live[number].pop(key, None)
                    if value is not None:
                        live[number][key] = value if key in (META_KEY, DEFINITION_KEY) else b""
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                elif message.offset() >= left.get(number, 0):
                    left.pop(number, None)
            if time.monotonic() - heard_at > timeout_s:
                raise TimeoutError(f"a transaction on {topic} stays open; it ends with its timeout")
    finally:
        consumer.close()
    return {
        number: Earlier.of(found, found.get(META_KEY), found.get(DEFINITION_KEY))
        for number, found in enumerate(live)
    }

"""How far a consumer group has come, by Kafka's own offsets."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

_TIMEOUT_S = 10.0

Offsets = dict[tuple[str, int], int]


class Progress:
    """Asks Kafka for offsets; KafkaException when it does not answer."""

    def __init__(self, bootstrap_servers: str, group: str) -> None:
        self._servers = bootstrap_servers
        self._group = group
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})

    def reach(self, timeout_s: float) -> None:
        """Return when Kafka answers."""
        self._admin.list_topics(timeout=timeout_s)

    def ends(self, partitions: Collection[tuple[str, int]]) -> Offsets:
        """The offset that the next record of each partition will get."""
        wanted = {TopicPartition(*here): OffsetSpec.latest() for here in partitions}
        answers = self._admin.list_offsets(
            wanted,
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=_TIMEOUT_S,
        )
        return {
            (item.topic, item.partition): future.result().offset for item, future in answers.items()
        }

    def committed(self) -> Offsets:
        """The offsets that the group has committed."""
        asked = [ConsumerGroupTopicPartitions(self._group)]
        (future,) = self._admin.list_consumer_group_offsets(
            asked, request_timeout=_TIMEOUT_S
        ).values()
        return {
            (item.topic, item.partition): item.offset
            for item in future.result().topic_partitions
            if item.offset >= 0
        }

    def begin_at(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit these offsets for the group before anybody has joined it."""
        consumer = Consumer(
            {"bootstrap.servers": self._servers, "group.id": self._group, "log_level": 0}
        )
        try:
            answers = consumer.commit(
                offsets=[TopicPartition(*here, offset) for here, offset in offsets.items()],
                asynchronous=False,
            )
            for answer in answers or ():
                if answer.error is not None:
                    raise KafkaException(answer.error)
        finally:
            consumer.close()

    def forget(self) -> None:
        """Delete the group and all topics that are named after it; what is not there is passed over."""
        topics = self._admin.list_topics(timeout=_TIMEOUT_S).topics
        mine = [topic for topic in topics if topic.startswith(f"{self._group}.")]
        futures = self._admin.delete_topics(mine, operation_timeout=_TIMEOUT_S) if mine else {}
        futures |= self._admin.delete_consumer_groups([self._group], request_timeout=_TIMEOUT_S)
        for future in futures.values():
            future.exception(_TIMEOUT_S)

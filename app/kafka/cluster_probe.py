"""Whether the cluster is there."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from app.engine.processing.work import TopicPartition


class ClusterProbe:
    """Asks with a client of its own, so that it does not depend on what it helps to judge."""

    def __init__(self, bootstrap_servers: str, *, timeout_s: float) -> None:
        self._servers = bootstrap_servers
        self._timeout_s = timeout_s

    def away(self, partitions: Iterable[TopicPartition]) -> set[TopicPartition]:
        """Those of the partitions that no broker leads now, or all when none answers in time (blocks)."""
        wanted = set(partitions)
        try:
            admin = AdminClient({"bootstrap.servers": self._servers, "log_level": 0})
            found = admin.list_topics(timeout=self._timeout_s)
        except KafkaException:
            return wanted
        led = {
            (name, number)
            for name, topic in found.topics.items()
            for number, partition in topic.partitions.items()
            if partition.leader in found.brokers
        }
        return wanted - led

"""Keeps repartition topics small: what every table has counted is deleted."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

log = structlog.get_logger(__name__)


class Purge:
    """Deletes the records of internal topics below the offsets that are committed (blocks).

    Nobody but this worker's group reads these topics, and what is committed is never read again. A purge
    that fails costs disk space until the next one, nothing else.
    """

    def __init__(self, bootstrap_servers: str, topics: set[str]) -> None:
        self._topics = topics
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers})
        self._purged: dict[tuple[str, int], int] = {}

    def run(self, committed: Mapping[tuple[str, int], int]) -> None:
        """Delete up to these offsets."""
        news = {
            here: offset
            for here, offset in committed.items()
            if here[0] in self._topics and offset > self._purged.get(here, 0)
        }
        if not news:
            return
        wanted = [TopicPartition(*here, offset) for here, offset in news.items()]
        for tp, future in self._admin.delete_records(wanted).items():
            try:
                future.result()
                self._purged[(tp.topic, tp.partition)] = tp.offset
            except KafkaException as error:
                log.warning("purge.failed", topic=tp.topic, error=error.args[0].str())

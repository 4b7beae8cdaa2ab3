"""Keeps repartition topics small: what every table has counted is deleted."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError

log = structlog.get_logger(__name__)


class Purge:
    """Deletes the records of internal topics below the offsets that are committed.

    Nobody but this worker's group reads these topics, and what is committed is never read again. A purge
    that fails costs disk space until the next one, nothing else.

    By aiokafka: confluent-kafka's `delete_records` gives up a reference to its argument that it does not
    own (its issue 2275), and sooner or later any object of the process is another one.
    """

    def __init__(self, bootstrap_servers: str, topics: set[str]) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topics = topics
        self._purged: dict[tuple[str, int], int] = {}

    async def run(self, committed: Mapping[tuple[str, int], int]) -> None:
        """Delete up to these offsets."""
        news = {
            here: offset
            for here, offset in committed.items()
            if here[0] in self._topics and offset > self._purged.get(here, 0)
        }
        if not news:
            return
        wanted = {TopicPartition(*here): RecordsToDelete(offset) for here, offset in news.items()}
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)
        try:
            await admin.start()
            await admin.delete_records(wanted)
        except KafkaError as error:
            log.warning("purge.failed", error=repr(error))
        else:
            self._purged.update(news)
        finally:
            await admin.close()

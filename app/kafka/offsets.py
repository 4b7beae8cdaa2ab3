"""Where partitions begin and end."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from confluent_kafka import Consumer, TopicPartition

from app.kafka.patience import patiently


class PartitionEnds:
    """Asks the broker for the first and next offsets of partitions (blocks)."""

    def __init__(self, bootstrap_servers: str, app_id: str, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._options = {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"{app_id}-ends",
            # committed or not: the answer to a read-committed consumer is the last stable offset
            "isolation.level": "read_uncommitted",
            "enable.auto.commit": False,
        }

    def starts(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset of the oldest record that is kept."""
        return {here: ends[0] for here, ends in self._ask(partitions).items()}

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset that the next record will have."""
        return {here: ends[1] for here, ends in self._ask(partitions).items()}

    def _ask(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        wanted = list(partitions)
        return (
            patiently(partial(self._ask_once, wanted), timeout_s=self._timeout_s) if wanted else {}
        )

    def _ask_once(self, wanted: list[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        consumer = Consumer(self._options)  # a new one each time: it remembers what it did not find
        try:
            return {
                here: consumer.get_watermark_offsets(TopicPartition(*here), timeout=5)
                for here in wanted
            }
        finally:
            consumer.close()

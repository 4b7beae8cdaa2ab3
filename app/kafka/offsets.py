"""Where partitions begin and end, and of which topic they are."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from confluent_kafka import IsolationLevel, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from app.kafka.patience import patiently

_REQUEST_TIMEOUT_S = 5.0


class PartitionEnds:
    """Asks the cluster for the first and next offsets of partitions (blocks); one request for all of a broker."""

    def __init__(self, bootstrap_servers: str, app_id: str, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._options = {
            "bootstrap.servers": bootstrap_servers,
            "client.id": f"{app_id}-ends",
            "log_level": 0,  # a client that lives for one request tells of its end, and of the broker's
        }

    def starts(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset of the oldest record that is kept."""
        return self._ask(partitions, OffsetSpec.earliest())

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset that the next record will have."""
        return self._ask(partitions, OffsetSpec.latest())

    def topic_ids(self, partitions: Iterable[tuple[str, int]]) -> dict[str, bytes]:
        """The ids of these partitions' topics: one that is deleted and made anew has another (16 bytes)."""
        names = sorted({topic for topic, _ in partitions})
        return patiently(partial(self._ids_once, names), timeout_s=self._timeout_s) if names else {}

    def _ids_once(self, names: list[str]) -> dict[str, bytes]:
        admin = AdminClient(self._options)
        answers = admin.describe_topics(TopicCollection(names), request_timeout=_REQUEST_TIMEOUT_S)
        ids = {name: item.result().topic_id for name, item in answers.items()}
        return {
            name: b"".join(
                half.to_bytes(8, signed=True)
                for half in (item.get_most_significant_bits(), item.get_least_significant_bits())
            )
            for name, item in ids.items()
        }

    def _ask(
        self, partitions: Iterable[tuple[str, int]], spec: OffsetSpec
    ) -> dict[tuple[str, int], int]:
        wanted = list(partitions)
        if not wanted:
            return {}
        return patiently(partial(self._ask_once, wanted, spec), timeout_s=self._timeout_s)

    def _ask_once(
        self, wanted: list[tuple[str, int]], spec: OffsetSpec
    ) -> dict[tuple[str, int], int]:
        admin = AdminClient(self._options)  # a new one each time: it remembers what it did not find
        answers = admin.list_offsets(
            {TopicPartition(*here): spec for here in wanted},
            # committed or not: else the answer is the last stable offset
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=_REQUEST_TIMEOUT_S,
        )
        return {(tp.topic, tp.partition): item.result().offset for tp, item in answers.items()}

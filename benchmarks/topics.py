"""Topics of the benchmarks: made, deleted, and how far they and their readers are."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

_TIMEOUT_S = 30.0
_KEEP_FOREVER = {"retention.ms": "-1", "retention.bytes": "-1"}


class Topics:
    """One connection for questions about topics and consumer groups; close it."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._admin = AdminClient({"bootstrap.servers": servers})
        self._readers: dict[tuple[str, str], Consumer] = {}

    def create(self, name: str, partitions: int = 4) -> None:
        """Make a topic that never expires: the events are dated in the past. Existing is fine."""
        wanted = NewTopic(name, partitions, 1, config=_KEEP_FOREVER)
        made = self._admin.create_topics([wanted], operation_timeout=_TIMEOUT_S)
        _settle(made[name], KafkaError.TOPIC_ALREADY_EXISTS)

    def delete(self, mark: str) -> None:
        """Delete all topics with this in their names."""
        found = self._admin.list_topics(timeout=_TIMEOUT_S).topics
        names = [name for name in found if mark in name]
        if names:
            for future in self._admin.delete_topics(names, operation_timeout=_TIMEOUT_S).values():
                _settle(future, KafkaError.UNKNOWN_TOPIC_OR_PART)

    def ends(self, name: str, partitions: int = 4) -> list[int]:
        """The offset after the last record of each partition."""
        reader = self._reader("headrace-bench")
        return [
            reader.get_watermark_offsets(TopicPartition(name, number), _TIMEOUT_S)[1]
            for number in range(partitions)
        ]

    def settled_ends(self, name: str, partitions: int = 4) -> list[int]:
        """The same, once every transaction has its markers there: they come after the answer to its commit."""
        deadline = time.monotonic() + _TIMEOUT_S
        while (found := self.ends(name, partitions)) != self._written(name, partitions):
            if time.monotonic() > deadline:
                raise TimeoutError(f"a transaction on {name} stays open")
            time.sleep(0.02)
        return found

    def _written(self, name: str, partitions: int) -> list[int]:
        reader = self._reader("headrace-bench-written", "read_uncommitted")
        return [
            reader.get_watermark_offsets(TopicPartition(name, number), _TIMEOUT_S)[1]
            for number in range(partitions)
        ]

    def committed(
        self, group: str, name: str, partitions: int = 4, *, stable: bool = True
    ) -> list[int]:
        """The group's committed offset of each partition; 0 where there is none.

        stable: wait for all of them until no open transaction can change any.
        """
        wanted = [TopicPartition(name, number) for number in range(partitions)]
        reader = self._reader(group, "read_committed" if stable else "read_uncommitted")
        answers = reader.committed(wanted, _TIMEOUT_S)
        return [max(0, item.offset) for item in sorted(answers, key=lambda item: item.partition)]

    def assigned(self, group: str, name: str) -> dict[str, set[int]]:
        """The topic's partitions that each member of a group has, by its instance id."""
        described = self._admin.describe_consumer_groups([group])[group].result(_TIMEOUT_S)
        return {
            member.group_instance_id: {
                item.partition for item in member.assignment.topic_partitions if item.topic == name
            }
            for member in described.members
        }

    def close(self) -> None:
        """Give the connections up."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _reader(self, group: str, isolation: str = "read_committed") -> Consumer:
        """A consumer that never joins its group."""
        key = (group, isolation)
        if key not in self._readers:
            self._readers[key] = Consumer(
                {
                    "bootstrap.servers": self._servers,
                    "group.id": group,
                    "isolation.level": isolation,
                    "enable.auto.commit": False,
                }
            )
        return self._readers[key]


def _settle(result: Future[None], fine: int) -> None:
    """Wait; an error of this code is fine."""
    try:
        result.result()
    except KafkaException as error:
        if error.args[0].code() != fine:
            raise


def read_committed(
    servers: str, name: str, starts: Iterable[int], ends: Iterable[int]
) -> list[bytes]:
    """The values of a topic's committed records between these offsets, by partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "headrace-bench-check",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )
    values: list[bytes] = []
    try:
        for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
            if start < end:
                consumer.assign([TopicPartition(name, number, start)])
                values += _partition(consumer, end)
    finally:
        consumer.close()
    return values


def _partition(consumer: Consumer, end: int) -> list[bytes]:
    """Everything up to `end` or to the partition's end, of the assigned partition."""
    values: list[bytes] = []
    while True:
        messages = consumer.consume(50_000, timeout=1.0)
        for message in messages:
            error = message.error()
            if error is None and message.offset() < end:
                values.append(message.value())
            elif error is None or error.code() == KafkaError._PARTITION_EOF:
                return values
            else:
                raise KafkaException(error)

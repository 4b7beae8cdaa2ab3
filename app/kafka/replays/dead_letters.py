"""Reads the dead-letter topic, and the receipts of those that have been replayed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import msgspec
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from app.engine import names
from app.engine.processing.receipts import Receipt, Receipts
from app.engine.processing.replay import DeadLetter

_ANSWER_S = 30
_SILENCE_S_MAX = 60
_MESSAGES_MAX = 1000


class DeadLetters:
    """The dead letters of one application, as they were when this was made (blocks). KafkaException."""

    def __init__(self, bootstrap_servers: str, app_id: str) -> None:
        self._topic = names.dead_letter_topic(app_id)
        self._receipts_topic = names.replays_topic(app_id)
        self._options: dict[str, object] = {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"{app_id}-replay",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
        }
        self._ends = self._bounds(self._topic)
        self._topic_id = ""
        if self._ends:
            admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
            described = admin.describe_topics(TopicCollection([self._topic]))
            self._topic_id = str(described[self._topic].result(_ANSWER_S).topic_id)

    def receipts(self) -> Receipts:
        """All receipts. They are complete if no replay can be at work: that is, once its producer is open."""
        found = Receipts(self._topic_id)
        for message in self._read(self._receipts_topic, self._bounds(self._receipts_topic)):
            found.add(msgspec.json.decode(message.value() or b"", type=Receipt))
        return found

    def without(self, receipts: Receipts) -> Iterator[DeadLetter]:
        """Those that have no receipt, of each partition in their order."""
        bounds = {
            partition: (receipts.first_without(partition, first), end)
            for partition, (first, end) in self._ends.items()
        }
        for message in self._read(self._topic, bounds):
            if not receipts.has(message.partition(), message.offset()):
                yield DeadLetter(
                    message.partition(),
                    message.offset(),
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                    tuple(message.headers() or ()),
                )

    def _bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """The first and next stable offset of each partition; empty: there is no such topic."""
        consumer = Consumer(self._options)
        try:
            described = consumer.list_topics(timeout=_ANSWER_S).topics.get(topic)
            return {
                partition: consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=_ANSWER_S
                )
                for partition in (described.partitions if described else ())
            }
        finally:
            consumer.close()

    def _read(self, topic: str, bounds: Mapping[int, tuple[int, int]]) -> Iterator[Message]:
        """The committed records within these bounds."""
        ends = {partition: end for partition, (first, end) in bounds.items() if first < end}
        if not ends:
            return
        consumer = Consumer(self._options)
        try:
            consumer.assign([TopicPartition(topic, number, bounds[number][0]) for number in ends])
            heard_at = time.monotonic()
            while ends:
                messages = consumer.consume(_MESSAGES_MAX, 0.2)
                if messages:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > _SILENCE_S_MAX:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
                for message in messages:
                    partition, offset, error = (
                        message.partition(),
                        message.offset(),
                        message.error(),
                    )
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    end = ends.get(partition, -1)
                    if error is None and offset < end:
                        yield message
                    if offset + (error is None) >= end:
                        ends.pop(partition, None)
        finally:
            consumer.close()

"""Sends events to Kafka as CloudEvents in binary mode."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaError, Message, Producer

from app.events.event import Event, event_type

_FLUSH_TIMEOUT_S = 30.0


class SendError(RuntimeError):
    """Events could not be delivered; the message says how many and why."""


class Sender:
    """Keeps the order of sending within each partition, also when Kafka must be asked again.

    name: the `ce_source` of the events, and the first part of their ids.
    """

    def __init__(self, bootstrap_servers: str, name: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 20,
                "batch.size": 1 << 18,
                "queue.buffering.max.messages": 200_000,
                "queue.buffering.max.kbytes": 128 << 10,
                "message.timeout.ms": 120_000,
                "delivery.report.only.error": True,
                "on_delivery": self._failed,
                "log_level": 0,
            }
        )
        self._name = name
        self._common = [
            ("ce_specversion", b"1.0"),
            ("ce_source", f"/shop/{name}".encode()),
            ("content-type", b"application/json"),
        ]
        self._count = 0
        self._undelivered = 0
        self._reason = ""

    def send(
        self,
        cls: type[Event],
        type_names: Iterable[str],
        keys: Iterable[str],
        values: Iterable[bytes],
        times: Iterable[int],
    ) -> None:
        """Send events of one topic. SendError: earlier ones could not be delivered."""
        produce, name, number = self._producer.produce, self._name, self._count
        topic = event_type(cls).topic
        for type_name, key, value, time in zip(type_names, keys, values, times, strict=True):
            number += 1
            headers = [("ce_id", f"{name}-{number}"), ("ce_type", type_name), *self._common]
            while True:
                try:
                    produce(topic, value, key, headers=headers, timestamp=time)
                    break
                except BufferError:
                    self._producer.poll(0.05)
        self._count = number
        self._producer.poll(0)
        self._check()

    def finish(self) -> None:
        """Wait until all is delivered. SendError: not all could be."""
        self._undelivered += self._producer.flush(_FLUSH_TIMEOUT_S)
        self._check()

    def _failed(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._undelivered += 1
            self._reason = error.str()

    def _check(self) -> None:
        if self._undelivered:
            raise SendError(
                f"{self._undelivered} events could not be delivered: {self._reason or 'no answer'}"
            )

"""Keeps what a topic holds from readers until everything is ready."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

_TIMEOUT_S = 30
_OPEN_MS_MAX = 600_000


@contextmanager
def closed_gate(servers: str, topic: str, partitions: int) -> Iterator[Producer]:
    """An open transaction at the beginning of each partition: nothing behind it is committed to a reader.

    Abort the transaction of the producer that it gives, and all of it can be read at once.
    """
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "transactional.id": f"{topic}.gate",
            "transaction.timeout.ms": _OPEN_MS_MAX,
        }
    )
    producer.init_transactions(_TIMEOUT_S)
    producer.begin_transaction()
    for partition in range(partitions):
        producer.produce(topic, b"gate", partition=partition)
    producer.flush(_TIMEOUT_S)
    yield producer

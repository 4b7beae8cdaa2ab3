"""Copying changelogs into a store: a restore does it up to their ends, a standby for as long as it is one."""

from __future__ import annotations

import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from app.engine.store import Store, StoreWrite

log = structlog.get_logger(__name__)

OWN_MARKER = 1
"""The commit marker that ends the last transaction that the store holds; with nothing else, nobody has written."""


def consumer_options(bootstrap_servers: str, group: str, *, queue_kb: int) -> dict[str, object]:
    """Of a consumer that copies changelogs. queue_kb: what is read ahead."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "group.id": group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "check.crcs": True,
        "queued.max.messages.kbytes": queue_kb,
        "fetch.queue.backoff.ms": 5,  # a full queue is soon read; a second, the default, is for ever
    }


def start_of(store: Store, table: str, partition: int, changelog: bytes, high: int) -> int:
    """From which offset on the store lacks a changelog: the id of its topic, and its end.

    It forgets a table partition with which it cannot go on.
    """
    held = store.changelog_offset(table, partition)
    if held is not None and store.changelog(table, partition) != changelog:
        log.warning("restore.other_changelog", table=table, partition=partition, held=held)
        held = None  # it was made anew, or is on another cluster: what is here is not its state
    elif held is not None and held > high:
        log.warning("restore.store_ahead", table=table, partition=partition, held=held, end=high)
        held = None  # the cluster has lost what it had
    elif held is not None and high - held > OWN_MARKER and store.stale(table, partition):
        held = None  # tombstones of that time may be gone, and replaced segments would come back
    if held is None:
        store.begin(table, partition, changelog)
    return held or 0


def is_end(message: Message) -> bool:
    """Whether it only says that the partition ends here. KafkaException: it says that something is wrong."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise KafkaException(error)


def take(message: Message, write: StoreWrite) -> int:
    """Add a changelog's record to a write; gives by how many bytes it grows."""
    key, value = message.key(), message.value()
    write.changelog_offset = message.offset() + 1
    before = write.puts.pop(key, None)
    if value is None:
        write.deletes.append(key)
    else:
        write.puts[key] = value
    return len(key) + len(value or b"") - len(before or b"")

"""Bringing a store up to what the changelogs hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from app.engine import names
from app.engine.store import Store, StoreWrite
from app.kafka.offsets import PartitionEnds

log = structlog.get_logger(__name__)

_WRITE_BYTES = 8 << 20


class RestoreError(RuntimeError):
    """The state could not be brought up to the changelog."""


class ChangelogRestore:
    """Replays changelogs, read-committed, from where the store stands to the high watermark.

    Not merely to the last stable offset: the commit markers of one transaction reach its partitions at
    different moments, so a transaction that the offsets' commit tells of may still look open here.
    """

    def __init__(
        self, bootstrap_servers: str, app_id: str, store: Store, *, timeout_s: float
    ) -> None:
        self._app_id = app_id
        self._store = store
        self._timeout_s = timeout_s
        self._ending = threading.Event()
        self._ends_of = PartitionEnds(bootstrap_servers, app_id, timeout_s=timeout_s)
        self._options: dict[str, object] = {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"{app_id}-restore",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
        }

    def end(self) -> None:
        """The worker ends: replay no further. From any thread."""
        self._ending.set()

    def run(self, parts: Iterable[tuple[str, int]]) -> int:
        """Restore these (table, partition)s; gives the number of records read.

        Raises RestoreError when the end is not reached because a transaction stays open.
        """
        consumer = Consumer(self._options)
        try:
            starts, ends = self._ends(parts)
            if starts:
                consumer.assign(starts)
            return self._replay(consumer, ends)
        except KafkaException as error:
            raise RestoreError(
                f"the changelogs could not be read: {error.args[0].str()}"
            ) from error
        finally:
            consumer.close()

    def _ends(
        self, parts: Iterable[tuple[str, int]]
    ) -> tuple[list[TopicPartition], dict[tuple[str, int], int]]:
        """The changelogs that have news, from where, and the high watermark of each."""
        ends: dict[tuple[str, int], int] = {}
        starts: list[TopicPartition] = []
        topics = {
            (names.changelog_topic(self._app_id, table), number): (table, number)
            for table, number in parts
        }
        for (topic, partition), high in self._ends_of.ends(topics).items():
            table = topics[(topic, partition)][0]
            held = self._store.changelog_offset(table, partition)
            if held is not None and held > high:
                log.warning(
                    "restore.store_ahead", table=table, partition=partition, held=held, end=high
                )
                held = None  # the changelog was made anew: what is here is not its state
            if held is None:
                self._store.clear(table, partition)
            start = held or 0
            if start < high:
                ends[(topic, partition)] = high
                starts.append(TopicPartition(topic, partition, start))
        return starts, ends

    def _replay(self, consumer: Consumer, ends: dict[tuple[str, int], int]) -> int:
        tables = {names.changelog_topic(self._app_id, table): table for table in self._tables(ends)}
        pending: dict[tuple[str, int], StoreWrite] = {}
        count, size, progress_at = 0, 0, time.monotonic()
        while ends:
            messages = consumer.consume(1000, 0.5)
            if self._ending.is_set():
                raise RestoreError("the worker ends")
            if time.monotonic() - progress_at > self._timeout_s:
                raise RestoreError(
                    f"a transaction on {sorted(ends)} stays open; it ends with its timeout: try again"
                )
            for message in messages:
                here = (message.topic(), message.partition())
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if error is not None:
                    if message.offset() >= ends.get(here, 0):
                        self._note(
                            pending, tables[here[0]], here[1]
                        ).changelog_offset = message.offset()
                        ends.pop(here, None)
                    continue
                progress_at = time.monotonic()
                write = self._note(pending, tables[here[0]], here[1])
                key, value = message.key(), message.value()
                count += 1
                if value is None:
                    write.puts.pop(key, None)
                    write.deletes.append(key)
                else:
                    write.puts[key] = value
                    size += len(value)
                write.changelog_offset = message.offset() + 1
            if size > _WRITE_BYTES or not ends:
                self._store.write(pending.values())
                pending, size = {}, 0
        return count

    def _tables(self, ends: Iterable[tuple[str, int]]) -> set[str]:
        prefix, suffix = names.changelog_topic(self._app_id, "\0").split("\0")
        return {topic.removeprefix(prefix).removesuffix(suffix) for topic, _ in ends}

    def _note(
        self, pending: dict[tuple[str, int], StoreWrite], table: str, partition: int
    ) -> StoreWrite:
        if (table, partition) not in pending:
            pending[(table, partition)] = StoreWrite(table, partition)
        return pending[(table, partition)]

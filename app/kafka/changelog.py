"""Bringing a store up to what the changelogs hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from app.engine import names
from app.engine.restore_progress import RestoreProgress
from app.engine.store import Store, StoreWrite
from app.kafka.changelog_copy import consumer_options, is_end, start_of, take
from app.kafka.offsets import PartitionEnds

_WRITE_BYTES = 8 << 20
"""Of one write to the store. A segment that is replaced within it is never written."""
_QUEUE_KB = 32 << 10
"""What is read ahead."""
_FETCH_BYTES = 4 << 20


class RestoreError(RuntimeError):
    """The state could not be brought up to the changelog."""


class ChangelogRestore:
    """Replays changelogs, read-committed, from where the store stands to the high watermark.

    A copy: segments go from the changelog to the store as they are. In memory are _WRITE_BYTES and _QUEUE_KB.
    Not merely to the last stable offset: the commit markers of one transaction reach its partitions at
    different moments, so a transaction that the offsets' commit tells of may still look open here.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        app_id: str,
        store: Store,
        progress: RestoreProgress,
        *,
        timeout_s: float,
    ) -> None:
        self._app_id = app_id
        self._store = store
        self._progress = progress
        self._timeout_s = timeout_s
        self._ending = threading.Event()
        self._ends_of = PartitionEnds(bootstrap_servers, app_id, timeout_s=timeout_s)
        self._options = {
            **consumer_options(bootstrap_servers, f"{app_id}-restore", queue_kb=_QUEUE_KB),
            "fetch.wait.max.ms": 20,
            "fetch.message.max.bytes": _FETCH_BYTES,
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
            spans = self._spans(parts)
            if not spans:
                return 0
            self._progress.begin(spans)
            starts = [
                TopicPartition(names.changelog_topic(self._app_id, table), number, start)
                for (table, number), (start, _) in spans.items()
            ]
            consumer.assign(starts)
            return self._replay(consumer, {here: end for here, (_, end) in spans.items()})
        except KafkaException as error:
            raise RestoreError(
                f"the changelogs could not be read: {error.args[0].str()}"
            ) from error
        finally:
            self._progress.end()
            consumer.close()

    def _spans(self, parts: Iterable[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        """The (table, partition)s whose changelogs have news: from where to the high watermark."""
        spans: dict[tuple[str, int], tuple[int, int]] = {}
        topics = {
            (names.changelog_topic(self._app_id, table), number): (table, number)
            for table, number in parts
        }
        ids = self._ends_of.topic_ids(topics)
        for here, high in self._ends_of.ends(topics).items():
            start = start_of(self._store, *topics[here], ids[here[0]], high)
            if start < high:
                spans[topics[here]] = (start, high)
        return spans

    def _replay(self, consumer: Consumer, ends: dict[tuple[str, int], int]) -> int:
        tables = {names.changelog_topic(self._app_id, table): table for table, _ in ends}
        pending: dict[tuple[str, int], StoreWrite] = {}
        count, size, progress_at = 0, 0, time.monotonic()
        try:
            while ends:
                message = consumer.poll(0.5)
                if self._ending.is_set():
                    raise RestoreError("the worker ends")
                if message is None:
                    if time.monotonic() - progress_at > self._timeout_s:
                        raise RestoreError(
                            f"a transaction on {sorted(ends)} stays open; it ends with its timeout: try again"
                        )
                    continue
                here = (tables[message.topic()], message.partition())
                if here not in ends:
                    continue
                write = pending.setdefault(here, StoreWrite(*here))
                if is_end(message):
                    if message.offset() >= ends[here]:
                        write.changelog_offset = message.offset()
                        self._progress.advance(*here, message.offset(), 0)
                        del ends[here]
                        # others may go on writing there, which is no progress
                        done = TopicPartition(message.topic(), message.partition())
                        consumer.incremental_unassign([done])
                    continue
                progress_at = time.monotonic()
                count += 1
                size += take(message, write)
                self._progress.advance(*here, message.offset() + 1, len(message))
                if size > _WRITE_BYTES:
                    self._store.write(pending.values(), settled=False)
                    pending, size = {}, 0
            self._store.write(pending.values(), settled=False)
        finally:
            self._store.settle()
        return count

"""Bringing a store up to what the changelogs hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaException

from app.engine import names
from app.engine.reading.restore_progress import RestoreProgress
from app.engine.state.store import Store, StoreWrite
from app.kafka.changelogs.copy import Start, starts_of, take
from app.kafka.changelogs.reader import ChangelogError, ChangelogReader
from app.kafka.offsets import PartitionEnds

_WRITE_BYTES = 8 << 20
"""Of one write to the store. A segment that is replaced within it is never written."""
_BUFFER_BYTES = 8 << 20
"""Of one fetch; another one is read ahead."""
_FETCH_BYTES = 4 << 20
_WAIT_MS = 20


class RestoreError(RuntimeError):
    """The state could not be brought up to the changelog."""


class ChangelogRestore:
    """Replays changelogs, read-committed, from where the store stands to the high watermark.

    A copy: segments go from the changelog to the store as they are. In memory are _WRITE_BYTES and twice _BUFFER_BYTES.
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
        self._servers = bootstrap_servers

    def end(self) -> None:
        """The worker ends: replay no further. From any thread."""
        self._ending.set()

    def run(self, parts: Iterable[tuple[str, int]]) -> int:
        """Restore these (table, partition)s; gives the number of records read.

        Raises RestoreError when the end is not reached because a transaction stays open.
        """
        try:
            starts = self._starts(parts)
            if not starts:
                return 0
            self._progress.begin(
                {here: (start.offset, start.end) for here, start in starts.items()}
            )
            return self._replay(starts)
        except KafkaException as error:
            raise RestoreError(
                f"the changelogs could not be read: {error.args[0].str()}"
            ) from error
        except ChangelogError as error:
            raise RestoreError(f"the changelogs could not be read: {error}") from error
        finally:
            self._progress.end()

    def _starts(self, parts: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Start]:
        """The (table, partition)s whose changelogs have news."""
        topics = {
            (names.changelog_topic(self._app_id, table), number): (table, number)
            for table, number in parts
        }
        ids, ends = self._ends_of.topic_ids(topics), self._ends_of.ends(topics)
        starts = starts_of(self._store, topics, ids, ends)
        return {here: start for here, start in starts.items() if start.offset < start.end}

    def _replay(self, starts: Mapping[tuple[str, int], Start]) -> int:
        reader = ChangelogReader(
            self._servers,
            f"{self._app_id}-restore",
            fetch_bytes=_FETCH_BYTES,
            buffer_bytes=_BUFFER_BYTES,
            wait_ms=_WAIT_MS,
        )
        try:
            reader.follow({self._topic(here): start.offset for here, start in starts.items()})
            return self._copy(reader, starts)
        finally:
            self._store.settle()
            reader.close()

    def _topic(self, here: tuple[str, int]) -> tuple[str, int]:
        return names.changelog_topic(self._app_id, here[0]), here[1]

    def _copy(self, reader: ChangelogReader, starts: Mapping[tuple[str, int], Start]) -> int:
        ends = {here: start.end for here, start in starts.items()}
        parts = {self._topic(here): here for here in ends}
        pending: dict[tuple[str, int], StoreWrite] = {}
        count, size = 0, 0
        began = progress_at = time.monotonic()

        def write_pending() -> None:
            passed_s = int(time.monotonic() - began)
            for here, item in pending.items():
                item.age_s = passed_s + (starts[here].age_s if here in ends else 0)
            self._store.write(pending.values(), settled=False)

        while ends:
            chunks = reader.read(0.5)
            if self._ending.is_set():
                raise RestoreError("the worker ends")
            if not chunks and time.monotonic() - progress_at > self._timeout_s:
                raise RestoreError(
                    f"a transaction on {sorted(ends)} stays open; it ends with its timeout: try again"
                )
            for chunk in chunks:
                here = parts[(chunk.topic, chunk.partition)]
                if here not in ends:  # others may go on writing there, which is no progress
                    continue
                progress_at = time.monotonic()
                write = pending.setdefault(here, StoreWrite(*here))
                size += take(chunk.records, write)
                write.changelog_offset = chunk.end
                count += len(chunk.records)
                self._progress.advance(*here, chunk.end, chunk.size)
                if chunk.end >= ends[here]:
                    del ends[here]
                    reader.leave([self._topic(here)])
                if size > _WRITE_BYTES:
                    write_pending()
                    pending.clear()
                    size = 0
        write_pending()
        return count

"""Copies of table partitions that other workers own, kept close to the ends of their changelogs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaException

from app.engine import names
from app.engine.state.store import Store, StoreWrite
from app.kafka.changelogs.copy import OWN_MARKER, Here, starts_of, take
from app.kafka.changelogs.reader import ChangelogError, ChangelogReader, Chunk
from app.kafka.offsets import PartitionEnds

log = structlog.get_logger(__name__)

_WRITE_BYTES = 4 << 20
_WRITE_S = 1.0
"""What is replaced within one write is never written; a copy is at most so far behind what was read."""
_BUFFER_BYTES = 8 << 20
_FETCH_BYTES = 1 << 20
_WAIT_MS = 100
_WAIT_S = 0.1
"""For what a turn of the loop waits: to stop a copy takes so long, and the end of a write."""
_REST_S_MAX = 1.0
_TOUCH_S = 60.0
"""A copy that is at the end says so at least so often: after half an hour of silence it would not be trusted."""
_ENDS_S = 60.0
"""So often Kafka itself is asked where the changelogs end: a consumer may get nothing any more, and not say so."""
_SWEEP_S = 60.0
_PAUSE_S = 1.0


class Standbys:
    """A restore that never ends, in a thread of its own, of the tables of other workers' source partitions.

    A copy that is behind rests after each write for as long as that took, so that it takes as little from the
    partitions of its own worker as a restore beside them. It has _WRITE_BYTES and twice _BUFFER_BYTES in memory.
    What it writes passes the store's log by; before a copy is handed on, or given up, it is settled. One that is
    given up stays until it is too old to be gone on with; so does what the worker has owned.
    on_ready: called in the event loop when copies have got to the end.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        app_id: str,
        store: Store,
        tables_of: Callable[[Collection[Here]], Collection[Here]],
        every_table: Callable[[], Iterable[Here]],
        *,
        timeout_s: float,
        on_ready: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app_id = app_id
        self._store = store
        self._tables_of = tables_of
        self._every_table = every_table
        self._on_ready = on_ready
        self._clock = clock
        self._ends_of = PartitionEnds(bootstrap_servers, app_id, timeout_s=timeout_s)
        self._servers = bootstrap_servers
        self._thread = ThreadPoolExecutor(1, "headrace-standby")
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._ending = False
        self._sources: frozenset[Here] = frozenset()
        self._wanted: frozenset[Here] = frozenset()
        self._kept: frozenset[Here] | None = None
        self._kept_now: frozenset[Here] | None = None
        self._swept_at = clock()
        self._ends_asked_at = clock()
        self._asked: list[Future[None]] = []
        self._parts: dict[Here, Here] = {}  # by the topics and partitions of their changelogs
        self._copies: dict[Here, _Copy] = {}
        self._pending: dict[Here, StoreWrite] = {}
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._busy_s = 0.0

    def follow(self, sources: Collection[Here], ours: Collection[Here]) -> Future[None]:
        """Have copies of these source partitions' tables, and of no others.

        ours: what the worker itself works on. Done when nothing of that is touched any more.
        """
        done: Future[None] = Future()
        with self._lock:
            self._sources = frozenset(sources)
            self._wanted = frozenset(self._tables_of(sources))
            self._kept = self._wanted | frozenset(self._tables_of(ours))
            self._asked.append(done)
        self._changed.set()
        return done

    def ready(self) -> frozenset[Here]:
        """The source partitions of whose tables the copies have been at the end. From any thread."""
        copies = self._copies
        with self._lock:
            sources = self._sources
        return frozenset(
            here
            for here in sources
            if all((copy := copies.get(part)) and copy.at_end for part in self._tables_of([here]))
        )

    def lags(self) -> dict[Here, int]:
        """By how many offsets each copy is behind. From any thread."""
        return {here: max(0, copy.high - copy.position) for here, copy in self._copies.items()}

    async def run(self) -> None:
        """Follow for ever. Raises StateRefusedError."""
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(self._thread, self._work)

    async def close(self) -> None:
        """Stop, and let go of the store."""
        self._ending = True
        self._changed.set()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    # -- in its thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._ending:
                self._changed.wait(_SWEEP_S)
                self._sweep()
                if not self._wanted:
                    _answer(self._news()[1])
                    continue
                try:
                    self._copy_on()
                except (KafkaException, ChangelogError, _BeginAnewError) as error:
                    log.warning("standby.interrupted", reason=str(error))
                    time.sleep(_PAUSE_S)
                    self._changed.set()
        finally:
            for done in self._asked:
                done.cancel()

    def _news(self) -> tuple[frozenset[Here], list[Future[None]]]:
        """What there are to be copies of, and who waits until there are no others."""
        with self._lock:
            self._changed.clear()
            asked, self._asked = self._asked, []
            self._kept_now = self._kept
            return self._wanted, asked

    def _copy_on(self) -> None:
        """Until there is nothing to copy, or nothing to be had of Kafka."""
        reader = ChangelogReader(
            self._servers,
            f"{self._app_id}-standby",
            fetch_bytes=_FETCH_BYTES,
            buffer_bytes=_BUFFER_BYTES,
            wait_ms=_WAIT_MS,
        )
        try:
            while not self._ending:
                if self._changed.is_set() or not self._copies:
                    self._follow(reader, *self._news())
                    if not self._copies:
                        return
                self._sweep()
                chunks = reader.read(_WAIT_S)
                began = self._clock()
                self._take(chunks)
                self._look(reader)
                self._ask_ends()
                if due := self._due():
                    self._write()
                self._busy_s += self._clock() - began
                if due:
                    self._changed.wait(min(_REST_S_MAX, self._busy_s))
                    self._busy_s = 0.0
        finally:
            self._let_go(list(self._copies))
            reader.close()

    def _follow(
        self, reader: ChangelogReader, wanted: Collection[Here], asked: Iterable[Future[None]]
    ) -> None:
        gone = [here for here in self._copies if here not in wanted]
        if gone:
            self._let_go(gone)
        _answer(asked)
        if new := [here for here in wanted if here not in self._copies]:
            self._begin(new)
        if gone or new:
            reader.follow(
                {self._changelog(here): copy.position for here, copy in self._copies.items()}
            )

    def _changelog(self, here: Here) -> Here:
        return names.changelog_topic(self._app_id, here[0]), here[1]

    def _begin(self, parts: Iterable[Here]) -> None:
        topics = {(names.changelog_topic(self._app_id, table), n): (table, n) for table, n in parts}
        self._parts |= topics
        now, ids = self._clock(), self._ends_of.topic_ids(topics)
        starts = starts_of(self._store, topics, ids, self._ends_of.ends(topics))
        copies = {
            here: _Copy(start.offset, start.end, now, since=now - start.age_s)
            for here, start in starts.items()
        }
        behind = sum(copy.end - copy.position for copy in copies.values())
        log.info("standby.begun", partitions=len(copies), offsets_behind=behind)
        self._copies = self._copies | copies

    def _let_go(self, parts: Collection[Here]) -> None:
        """Write to these no more; a crash from now on takes nothing of them away."""
        if self._copies:
            self._write()
            self._store.settle()
        self._copies = {here: copy for here, copy in self._copies.items() if here not in parts}

    def _sweep(self) -> None:
        """Now and then, delete what nobody wants and nobody could go on with."""
        if self._kept_now is None or self._clock() - self._swept_at < _SWEEP_S:
            return
        self._swept_at = self._clock()
        for here in self._every_table():
            if here not in self._kept_now and self._store.stale(*here):
                log.info("standby.deleted", table=here[0], partition=here[1])
                self._store.clear(*here)

    def _take(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            here = self._parts[(chunk.topic, chunk.partition)]
            copy = self._copies.get(here)
            if copy is None:  # it has been let go of meanwhile
                continue
            if chunk.start < copy.position:
                self._forget(here)
            if len(chunk.records):
                self._pending_bytes += take(chunk.records, self._write_to(here))
            copy.position = chunk.end

    def _forget(self, here: Here) -> None:
        """Its changelog has been made anew, and has nothing of what is here."""
        self._pending.pop(here, None)
        self._store.clear(*here)
        raise _BeginAnewError(f"the changelog of {here} has been made anew")

    def _write_to(self, here: Here) -> StoreWrite:
        if not self._pending:
            self._pending_since = self._clock()
        return self._pending.setdefault(here, StoreWrite(*here))

    def _look(self, reader: ChangelogReader) -> None:
        """Where the changelogs end now, for those copies that have got to where they ended at the last look."""
        now, ends = self._clock(), reader.ends()
        news = False
        for here, copy in self._copies.items():
            copy.high = max(copy.high, ends.get(self._changelog(here), 0))
            if copy.position + OWN_MARKER >= copy.end:
                news |= not copy.at_end
                copy.at_end = True
                copy.since = copy.seen
                copy.end, copy.seen = copy.high, now
            if now - copy.written_at > _TOUCH_S:
                self._write_to(here)
        if news:
            if all(copy.at_end for copy in self._copies.values()):
                log.info("standby.caught_up", partitions=len(self._copies))
            self._loop.call_soon_threadsafe(self._on_ready)

    def _ask_ends(self) -> None:
        """Ask Kafka where the changelogs end. Raises _BeginAnewError where nothing has come since it was asked last."""
        now = self._clock()
        if now - self._ends_asked_at < _ENDS_S:
            return
        self._ends_asked_at = now
        parts = {
            (names.changelog_topic(self._app_id, here[0]), here[1]): here for here in self._copies
        }
        for topic, end in self._ends_of.ends(parts).items():
            here, copy = parts[topic], self._copies[parts[topic]]
            position, end_then = copy.asked
            if position == copy.position and position + OWN_MARKER < end_then:
                raise _BeginAnewError(f"of the changelog of {here} nothing comes behind {position}")
            copy.asked = copy.position, end
            copy.high = max(copy.high, end)

    def _due(self) -> bool:
        late = self._clock() - self._pending_since > _WRITE_S
        return self._pending_bytes > _WRITE_BYTES or (bool(self._pending) and late)

    def _write(self) -> None:
        now = self._clock()
        for here, write in self._pending.items():
            copy = self._copies[here]
            write.changelog_offset = copy.position
            write.age_s = int(now - copy.since)
            copy.written_at = now
        self._store.write(self._pending.values(), settled=False)
        self._pending, self._pending_bytes = {}, 0


def _answer(asked: Iterable[Future[None]]) -> None:
    for done in asked:
        if done.set_running_or_notify_cancel():
            done.set_result(None)


class _BeginAnewError(Exception):
    """The copies must be gone on with by another consumer."""


@dataclass
class _Copy:
    """How far one copy is: everything of before `since` (s) is in it; at `seen` the changelog had this end.

    asked: its position, and the changelog's end, when Kafka itself was asked for that.
    """

    position: int
    end: int
    seen: float
    since: float
    at_end: bool = False
    asked: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self.high = self.end
        self.written_at = self.seen

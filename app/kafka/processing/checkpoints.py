"""What is staged becomes checkpoints, one after the other: at an interval, or sooner when much is staged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from app.engine.processing.agent import AgentRunner, stop_agents
from app.engine.processing.checkpoint import Checkpoint
from app.engine.processing.processor import Processor
from app.engine.processing.work import TopicPartition, Work
from app.engine.state.store import StateRefusedError, Store
from app.kafka.processing.idle_watch import IdleWatch
from app.kafka.processing.publication import Publication
from app.kafka.processing.surroundings import ConsumerControl, Observer, Pace
from app.kafka.processing.takeover import FirstOffsets
from app.kafka.processing.threads import ThreadedMap
from app.kafka.transactions.publisher import AbortedError, ExpelledError, Publisher

log = structlog.get_logger(__name__)

_BACKOFF_S_MAX = 1.0
_EXPELLED_MAX = 5
_HELP_BYTES_MIN = 2 << 20
"""What is less is soon prepared, and a second thread only disturbs the engine's."""


class Checkpoints:
    """Cuts, publishes and commits the checkpoints of one worker, in a thread of their own, and two that prepare them.

    positions: per partition that the worker has, where the last committed checkpoint ends. abandoned: nothing
    is committed any more, the worker ends. failures: in a row. on_published: called with each checkpoint
    that has become the state. on_fatal: awaited before the worker ends because of an error.
    """

    def __init__(
        self,
        processor: Processor,
        store: Store,
        publisher: Publisher,
        agents: Sequence[AgentRunner],
        consumer: ConsumerControl,
        observer: Observer,
        pace: Pace,
        *,
        log_starts: FirstOffsets,
        membership_wait_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._processor = processor
        self._store = store
        self._agents = agents
        self._consumer = consumer
        self._observer = observer
        self._pace = pace
        self._log_starts = log_starts
        self._clock = clock
        self.thread = ThreadPoolExecutor(1, "headrace-checkpoint")
        self._each = ThreadedMap("headrace-prepare")
        self.publication = Publication(
            publisher, store, consumer, self.thread, wait_s=membership_wait_s
        )
        self.positions: dict[TopicPartition, int] = {}
        self._idle = IdleWatch(pace.idle_partition_ms / 1000, consumer.silent_s, clock)
        self._one_at_a_time = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._room = asyncio.Event()
        self._waiting_since: float | None = None
        self._failures = 0
        self.abandoned = False
        self.rewinds = 0
        """How often all partitions were read again."""
        self.last_error: str | None = None
        self.on_published: Callable[[Checkpoint], None] = lambda checkpoint: None
        self.on_reassigned: Callable[[], None] = lambda: None
        self.on_fatal: Callable[[BaseException], Awaitable[None]] = _ignore

    def waiting_ms(self) -> int | None:
        """For how long the oldest uncommitted work has waited (ms); None: everything is committed."""
        since = self._waiting_since
        return None if since is None else int((self._clock() - since) * 1000)

    # -- partitions come and go ------------------------------------------------------------------

    def add(self, positions: dict[TopicPartition, int]) -> None:
        """These partitions are the worker's from now on; they are committed up to here."""
        self.positions.update(positions)
        self.publication.settled(positions.keys())
        self._idle.watch(self.positions)
        self.on_reassigned()

    async def forget(self, partitions: Collection[TopicPartition], *, rewind: bool = False) -> None:
        """These partitions are no longer the worker's. rewind: what is staged must not be published."""
        async with self._one_at_a_time:
            if rewind:
                await self._rewind()
            self._processor.remove(partitions)
            for here in partitions:
                self.positions.pop(here, None)
            self.publication.settled(partitions)
            self._idle.watch(self.positions)
            if not self._processor.dirty:
                self._waiting_since = None
            self.on_reassigned()
            if not self.positions:
                await stop_agents(self._agents)

    # -- what the pump tells -----------------------------------------------------------------------

    async def room(self) -> None:
        """Wait until what is staged is less than a checkpoint may hold."""
        while self._processor.staged_bytes > self._pace.checkpoint_bytes_max:
            self._room.clear()
            self._wanted.set()
            await self._room.wait()

    def staged(self, work: Work) -> None:
        """This work has been staged."""
        if self._waiting_since is None:
            self._waiting_since = self._clock()
        if work.events or work.received:
            self._idle.event((work.fetch.topic, work.fetch.partition))
        if self._processor.staged_bytes > self._pace.checkpoint_bytes_max:
            self._wanted.set()

    async def rewind(self) -> None:
        """Drop what is staged, and read again from what is committed."""
        async with self._one_at_a_time:
            await self._rewind()

    async def follow_logs(self) -> None:
        """Read on, and where a log begins now if its partition stands before that: what lies between is lost."""
        await self.checkpoint()  # what is staged cannot be read again where its log is cut
        async with self._one_at_a_time:
            loop = asyncio.get_running_loop()
            starts = await loop.run_in_executor(self.thread, self._log_starts, list(self.positions))
            for (topic, number), start in starts.items():
                position = self.positions.get((topic, number), start)
                if start > position:
                    log.error(
                        "offsets.lost", topic=topic, partition=number, first=position, next=start
                    )
                    self.positions[(topic, number)] = start
            await self._rewind()

    def close(self) -> None:
        """Give up the threads, once what they do is done."""
        self.thread.shutdown(wait=True, cancel_futures=True)
        self._each.close()

    async def abandon(self, error: BaseException, event: str) -> None:
        """Commit nothing more: this worker ends, and the next start goes on from what is committed."""
        self.abandoned = True
        self._processor.reset({})
        if isinstance(error, asyncio.CancelledError):
            return  # what is on its way may yet commit; the next start finds out
        if not isinstance(error, StateRefusedError):
            log.exception(event)
        await self.on_fatal(error)

    # -- checkpoints -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Checkpoint at the interval, from beginning to beginning, or sooner when much is staged, for ever."""
        interval_s = self._pace.checkpoint_interval_ms / 1000
        began = self._clock()
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), began + interval_s - self._clock())
            self._wanted.clear()
            began = self._clock()
            self._find_idle()
            await self.checkpoint()

    def _find_idle(self) -> None:
        for topic, partition in self._idle.quiet():
            position = self._processor.position(topic, partition)
            if position is None or not self._consumer.caught_up(topic, partition, position):
                continue
            if tables := self._processor.mark_idle(topic, partition):
                log.info(
                    "partition.idle", topic=topic, partition=partition, tables=", ".join(tables)
                )

    async def checkpoint(self) -> None:
        """Publish what is staged, in one transaction; on failure go back to what is committed."""
        async with self._one_at_a_time:
            if self.abandoned or not self._processor.dirty:
                return
            staged = self._processor.freeze()
            each = self._each if staged.bytes > _HELP_BYTES_MIN else map
            self._room.set()
            started = time.perf_counter()
            try:
                checkpoint = await asyncio.get_running_loop().run_in_executor(
                    self.thread, self._processor.prepare, staged, self._store.read, each
                )
                size = await self.publication.publish(checkpoint, self.positions.keys())
            except AbortedError as error:
                await self._aborted(error)
                return
            except BaseException as error:
                # What was staged since must not be committed: it would pass over this checkpoint for good
                await self.abandon(error, "checkpoint.impossible")
                raise
            self._processor.commit(staged, checkpoint)
            self.positions.update(checkpoint.positions)
            self._failures = 0
            self.last_error = None
            self._waiting_since = self._clock() if self._processor.dirty else None
            self._observer.checkpoint_done(checkpoint, time.perf_counter() - started, size)
            self.on_published(checkpoint)

    async def _aborted(self, error: AbortedError) -> None:
        """Nothing of the checkpoint holds: drop what is staged and read again."""
        reason = str(error)
        self._failures += 1
        if isinstance(error, ExpelledError) and self._failures % _EXPELLED_MAX == 0:
            self._consumer.rejoin()  # its own heartbeats should have told it by now
        self.last_error = reason
        self._observer.checkpoint_failed(reason)
        log.warning("checkpoint.aborted", reason=reason, in_a_row=self._failures)
        if not self.publication.leaving:  # the consumer waits for us
            await asyncio.sleep(min(_BACKOFF_S_MAX, 0.05 * 2 ** min(self._failures, 7)))
        await self._rewind()

    async def _rewind(self) -> None:
        self.rewinds += 1
        self._processor.reset(self.positions)
        await stop_agents(
            self._agents
        )  # what they remember is of events that they, or others, will see again
        self._room.set()
        if not self.publication.leaving:  # the consumer waits for us
            await self._consumer.rewind(self.positions)


async def _ignore(error: BaseException) -> None:
    """Stands in for `on_fatal` until the worker has set it."""

"""Drives the engine inside a Faust worker: fetches to work, work to checkpoints, checkpoints to Kafka.

Three threads share the work: the event loop (Faust, agents), one thread that decodes and groups, and one
that makes and publishes checkpoints. While a checkpoint is under way the next one is already filling.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog
from confluent_kafka import KafkaException

from app.codecs.json_columns import warm_up
from app.codecs.record_batch import CorruptRecordBatch, Fetch
from app.engine import names
from app.engine.agent import AgentRunner
from app.engine.batch import Batch, Emission, Update
from app.engine.checkpoint import Checkpoint, Record
from app.engine.dead_letter import dead_letter
from app.engine.processor import Processor
from app.engine.store import StateRefusedError, Store, StoreWrite
from app.engine.work import Staged, TopicPartition, Work
from app.kafka.changelog import ChangelogRestore, RestoreError
from app.kafka.idle_watch import IdleWatch
from app.kafka.membership import Membership
from app.kafka.publisher import AbortedError, ExpelledError, Offsets, Publisher
from app.kafka.surroundings import ConsumerControl, Observer, Pace
from app.kafka.takeover import FirstOffsets, Takeover, take_over
from app.kafka.transaction_error import NEVER, TransactionError

log = structlog.get_logger(__name__)

_STUCK_S = 2.0
_TAKE_OVER_PAUSE_S = 1.0
_BACKOFF_S_MAX = 1.0
_EXPELLED_MAX = 5


@dataclass
class _Ahead:
    """Fetches that are being computed, in order."""

    queue: asyncio.Queue[tuple[Fetch, asyncio.Future[Work | None]]] = field(
        default_factory=lambda: asyncio.Queue(2)
    )


@dataclass
class _Made:
    """What all agents together made of one fetch."""

    emissions: list[Emission] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)


class Runner:
    """One worker's engine. `pump` is the body of the Faust agent that reads all columnar topics."""

    def __init__(
        self,
        processor: Processor,
        store: Store,
        publisher: Publisher,
        restore: ChangelogRestore,
        agents: Iterable[AgentRunner],
        consumer: ConsumerControl,
        observer: Observer,
        pace: Pace,
        *,
        first_offsets: FirstOffsets,
        log_starts: FirstOffsets,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.processor = processor
        self._store = store
        self._publisher = publisher
        self._restore = restore
        self._agents = list(agents)
        self._consumer = consumer
        self._observer = observer
        self._pace = pace
        self._first_offsets = first_offsets
        self._log_starts = log_starts
        self._clock = clock
        self._ahead = _Ahead()
        self._engine_thread = ThreadPoolExecutor(1, "headrace-engine")
        self._checkpoint_thread = ThreadPoolExecutor(1, "headrace-checkpoint")
        self._kernels = self._engine_thread.submit(_compile_kernels)
        self._checkpointing = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._room = asyncio.Event()
        self._committed: dict[TopicPartition, int] = {}
        self._idle = IdleWatch(pace.idle_partition_ms / 1000, consumer.silent_s, clock)
        self._stuck: dict[TopicPartition, tuple[int, float]] = {}
        self._failures = 0
        self.assigned = False
        self.restored = False
        self._leaving = False
        self._assignments = 0
        self._waiting_since: float | None = None
        self.last_error: str | None = None
        self.on_published: Callable[[Checkpoint], None] = lambda checkpoint: None
        self.on_fatal: Callable[[BaseException], Awaitable[None]] = _ignore

    # -- partitions come and go ------------------------------------------------------------------

    async def assign(self, partitions: set[TopicPartition], counts: Mapping[str, int]) -> None:
        """Own these partitions from now on: restore their tables, learn where to read on."""
        self.processor.set_partition_counts(counts)
        self.assigned = True
        self._assignments += 1
        number = self._assignments
        # before the kernels are compiled there is no progress, and none is expected
        await asyncio.wrap_future(self._kernels)
        while True:
            if await self._assign_once(number, partitions, counts):
                return
            await asyncio.sleep(_TAKE_OVER_PAUSE_S)

    async def _assign_once(
        self, number: int, partitions: set[TopicPartition], counts: Mapping[str, int]
    ) -> bool:
        """Whether it is settled: done, or the partitions have been given up again meanwhile.

        Not so while Kafka is away, or while the transaction of a killed worker is still open.
        """
        loop = asyncio.get_running_loop()
        async with self._checkpointing:
            if number != self._assignments:
                return True
            try:
                taken = await loop.run_in_executor(
                    self._checkpoint_thread, self._take_over, partitions
                )
            except (TransactionError, RestoreError, KafkaException) as error:
                if isinstance(error, TransactionError) and error.code in NEVER:
                    raise
                self.last_error = f"the tables cannot be restored yet: {error}"
                log.warning("tables.not_restored_yet", reason=str(error))
                return False
            if number != self._assignments:
                return True
            self.last_error = None
            self._observer.restored(taken.records, taken.seconds)
            log.info(
                "tables.restored",
                partitions=len(taken.tables),
                records=taken.records,
                seconds=round(taken.seconds, 2),
            )
            self._committed = taken.positions
            self.processor.assign(taken.positions, counts, taken.tables, taken.stream_times)
            self._idle.watch(self._committed)
            self.restored = True
            return True

    def _take_over(self, partitions: set[TopicPartition]) -> Takeover:
        return take_over(
            partitions,
            processor=self.processor,
            publisher=self._publisher,
            restore=self._restore,
            store=self._store,
            first_offsets=self._first_offsets,
            log_starts=self._log_starts,
        )

    async def revoke(self) -> None:
        """Give all partitions up: what is staged is published first if that is still possible."""
        self._assignments += 1
        self.assigned = False
        if not self.restored:
            return
        self._leaving = True  # an abort must not seek now: the consumer waits for us
        try:
            await self.checkpoint()
        finally:
            self._leaving = False
        async with self._checkpointing:
            self.restored = False
            self._waiting_since = None
            self._committed = {}
            self.processor.assign({}, {}, {}, {})
            for agent in self._agents:
                await agent.stop()

    def positions(self) -> dict[TopicPartition, int]:
        """Where to read on, per owned partition."""
        return dict(self._committed)

    def waiting_ms(self) -> int | None:
        """For how long the oldest uncommitted work has waited (ms); None: everything is committed."""
        since = self._waiting_since
        return None if since is None else int((self._clock() - since) * 1000)

    def state_bytes(self) -> int:
        """About how many bytes the store's live data take."""
        return self._store.live_bytes()

    # -- fetches to staged work ------------------------------------------------------------------

    async def pump(self, fetches: AsyncIterable[Fetch]) -> None:
        """Take fetches for ever; the next one is decoded while agents work on the one before."""
        finisher = asyncio.ensure_future(self._finish_all())
        loop = asyncio.get_running_loop()
        try:
            async for fetch in fetches:
                future = loop.run_in_executor(self._engine_thread, self.processor.compute, fetch)
                await self._ahead.queue.put((fetch, future))
                if finisher.done():
                    break
        finally:
            finisher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await finisher

    async def _finish_all(self) -> None:
        while True:
            fetch, future = await self._ahead.queue.get()
            try:
                work = await future
                if work is None:
                    await self._out_of_order(fetch)
                else:
                    await self._finish(work)
            except CorruptRecordBatch as error:
                log.error("fetch.corrupt", error=str(error))
                await asyncio.sleep(1)
                async with self._checkpointing:
                    await self._rewind()
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                # a bug, or Polars' own panic, which is no Exception: nothing is lost if we end here
                self._abandon()
                if not isinstance(error, StateRefusedError):
                    log.exception("engine.failed")
                await self.on_fatal(error)
                raise
            finally:
                self._consumer.release(fetch)

    async def _finish(self, work: Work) -> None:
        """Let the agents work on the batches, then stage everything at once."""
        while self.processor.staged_bytes > self._pace.checkpoint_bytes_max:
            self._room.clear()
            self._wanted.set()
            await self._room.wait()
        made = _Made()
        for batch in work.batches:
            for agent in self._agents:
                if agent.cls is batch.cls:
                    await self._run_agent(agent, batch, work, made)
        if self.processor.stage(work, made.emissions, made.letters, made.updates):
            if self._waiting_since is None:
                self._waiting_since = self._clock()
            here = (work.fetch.topic, work.fetch.partition)
            if work.events or work.received:
                self._idle.event(here)
            fallback = work.decoded.fallback if work.decoded else 0
            self._observer.fetched(work.fetch, work.events, fallback)
            if self.processor.staged_bytes > self._pace.checkpoint_bytes_max:
                self._wanted.set()

    async def _run_agent(self, agent: AgentRunner, batch: Batch, work: Work, made: _Made) -> None:
        outcome = await agent.run(batch)
        made.emissions += outcome.emissions
        made.updates += outcome.updates
        assert work.decoded is not None
        if outcome.failures:
            first = outcome.failures[0]
            log.warning(
                "agent.failed", agent=agent.name, events=len(outcome.failures), reason=first.reason
            )
        for failure in outcome.failures:
            made.letters.append(
                dead_letter(
                    names.dead_letter_topic(self.processor.app_id),
                    work.decoded.records,
                    failure.row,
                    source=(batch.topic, batch.partition),
                    stage="agent",
                    reason=failure.reason,
                    attempts=failure.attempts,
                    traceback=failure.traceback[-self._pace.dead_letter_traceback_bytes_max :],
                    agent=agent.name,
                )
            )

    async def _out_of_order(self, fetch: Fetch) -> None:
        """A fetch that does not follow on: stale after a rewind, or the log was cut by its retention.

        Stale ones are dropped. Where nothing else comes for a while, look at where the log begins now.
        """
        here = (fetch.topic, fetch.partition)
        expected = self.processor.position(*here)
        if expected is None or fetch.end <= expected:
            return
        if fetch.start < expected:
            await self._consumer.rewind({here: expected})
            return
        since = self._stuck.get(here)
        if since is None or since[0] != expected:
            self._stuck[here] = (expected, self._clock())
            return
        if self._clock() - since[1] < _STUCK_S:
            return
        del self._stuck[here]
        async with self._checkpointing:
            loop = asyncio.get_running_loop()
            first = await loop.run_in_executor(self._checkpoint_thread, self._log_starts, [here])
            if first[here] > expected:
                log.error(
                    "offsets.lost",
                    topic=here[0],
                    partition=here[1],
                    first=expected,
                    next=first[here],
                )
                self._committed[here] = first[here]
            await self._rewind()

    # -- checkpoints ----------------------------------------------------------------------------

    async def run_checkpoints(self) -> None:
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
        for here in self._idle.quiet():
            position = self.processor.position(*here)
            if position is not None and self._consumer.caught_up(*here, position):
                self.processor.mark_idle(*here)

    async def checkpoint(self) -> None:
        """Publish what is staged, in one transaction; on failure go back to what is committed."""
        async with self._checkpointing:
            if not self.restored or not self.processor.dirty:
                return
            staged = self.processor.freeze()
            self._room.set()
            started = time.perf_counter()
            loop = asyncio.get_running_loop()
            membership = self._consumer.membership()
            try:
                checkpoint, size = await loop.run_in_executor(
                    self._checkpoint_thread, self._publish, staged, membership
                )
            except AbortedError as error:
                await self._aborted(error)
                return
            except BaseException as error:
                # What was staged since must not be committed: it would pass over this checkpoint for good
                self._abandon()
                if isinstance(error, asyncio.CancelledError):
                    raise  # it may yet commit; the next start finds out
                if not isinstance(error, StateRefusedError):
                    log.exception("checkpoint.impossible")
                await self.on_fatal(error)
                raise
            self.processor.commit(staged, checkpoint)
            self._committed.update(checkpoint.positions)
            self._failures = 0
            self.last_error = None
            self._waiting_since = self._clock() if self.processor.dirty else None
            self._observer.checkpoint_done(checkpoint, time.perf_counter() - started, size)
            self.on_published(checkpoint)

    def _abandon(self) -> None:
        """Commit nothing more: this worker ends, and the next start goes on from what is committed."""
        self.restored = False
        self.processor.reset({})

    def _publish(self, staged: Staged, membership: Membership) -> tuple[Checkpoint, int]:
        """Prepare, commit to Kafka, then write the store (blocks)."""
        checkpoint = self.processor.prepare(staged, self._store.read)
        offsets = self._publisher.publish(checkpoint, membership)
        writes = store_writes(checkpoint, offsets)
        self._store.write(writes)
        return checkpoint, sum(len(value) for write in writes for value in write.puts.values())

    async def _aborted(self, error: AbortedError) -> None:
        """Nothing of the checkpoint holds: drop what is staged and read again."""
        reason = str(error)
        self._failures += 1
        if isinstance(error, ExpelledError) and self._failures % _EXPELLED_MAX == 0:
            self._consumer.rejoin()  # its own heartbeats should have told it by now
        self.last_error = reason
        self._observer.checkpoint_failed(reason)
        log.warning("checkpoint.aborted", reason=reason, in_a_row=self._failures)
        if not self._leaving:
            await asyncio.sleep(min(_BACKOFF_S_MAX, 0.05 * 2 ** min(self._failures, 7)))
        await self._rewind()

    async def _rewind(self) -> None:
        self.processor.reset(self._committed)
        for agent in self._agents:  # what they remember is of events that they will see again
            await agent.stop()
        self._room.set()
        if not self._leaving:
            await self._consumer.rewind(self._committed)

    async def close(self) -> None:
        """Publish what is staged, and give up threads and connections."""
        self._publisher.end()
        await self.revoke()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._checkpoint_thread, self._publisher.close)
        self._engine_thread.shutdown(wait=True, cancel_futures=True)
        self._checkpoint_thread.shutdown(wait=True, cancel_futures=True)


def _compile_kernels() -> None:
    started = time.monotonic()
    warm_up()
    # What is there now stays: without this, collecting garbage looks at all of it, for a tenth of a second
    gc.collect()
    gc.freeze()
    log.info("kernels.ready", seconds=round(time.monotonic() - started, 2))


async def _ignore(error: BaseException) -> None:
    """Stands in for `on_fatal` until the worker has set it."""


def store_writes(checkpoint: Checkpoint, offsets: Offsets) -> list[StoreWrite]:
    """What a committed checkpoint changes in the store."""
    return [
        StoreWrite(
            change.table.name,
            change.partition,
            change.puts,
            change.deletes,
            offsets.get((change.table.name, change.partition)),
        )
        for change in checkpoint.changes
    ]

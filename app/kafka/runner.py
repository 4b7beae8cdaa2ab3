"""Drives the engine inside a Faust worker: fetches to work, work to checkpoints, checkpoints to Kafka.

Three threads share the work: the event loop (Faust, agents), one thread that decodes and groups, and one
that makes and publishes checkpoints. While a checkpoint is under way the next one is already filling.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import structlog

from app.codecs.json_columns import warm_up
from app.codecs.record_batch import CorruptRecordBatch, Fetch
from app.engine import names
from app.engine.agent import AgentRunner
from app.engine.batch import Batch, Emission, Update
from app.engine.checkpoint import Checkpoint, Record
from app.engine.dead_letter import dead_letter
from app.engine.processor import Processor
from app.engine.store import StateRefusedError, Store
from app.engine.work import TopicPartition, Work
from app.kafka.changelog import ChangelogRestore
from app.kafka.idle_watch import IdleWatch
from app.kafka.publication import Publication
from app.kafka.publisher import AbortedError, Committed, ExpelledError, Publisher
from app.kafka.surroundings import ConsumerControl, Observer, Pace
from app.kafka.takeover import FirstOffsets, Takeover, take_over
from app.kafka.transaction_error import LATER, TransactionError

log = structlog.get_logger(__name__)

_STUCK_S = 2.0
_BACKOFF_S_MAX = 1.0
_LOOK_PAUSE_S = 0.1
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
        membership_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.processor = processor
        self._store = store
        self._publisher = publisher
        self._agents = list(agents)
        self._consumer = consumer
        self._observer = observer
        self._pace = pace
        self._take_over = partial(
            take_over,
            processor=processor,
            restore=restore,
            store=store,
            first_offsets=first_offsets,
            log_starts=log_starts,
        )
        self._restore = restore
        self._log_starts = log_starts
        self._stable_wait_s = membership_wait_s
        self._clock = clock
        self._ahead = _Ahead()
        self._engine_thread = ThreadPoolExecutor(1, "headrace-engine")
        self._checkpoint_thread = ThreadPoolExecutor(1, "headrace-checkpoint")
        self._restore_thread = ThreadPoolExecutor(1, "headrace-restore")
        self._kernels = self._engine_thread.submit(_compile_kernels)
        self.publication = Publication(
            publisher, store, consumer, self._checkpoint_thread, wait_s=membership_wait_s
        )
        self._checkpointing = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._room = asyncio.Event()
        self._committed: dict[TopicPartition, int] = {}
        self._idle = IdleWatch(pace.idle_partition_ms / 1000, consumer.silent_s, clock)
        self._stuck: dict[TopicPartition, tuple[int, float]] = {}
        self._failures = 0
        self.assigned = False
        self.restored = False
        self._abandoned = False
        self._waiting_since: float | None = None
        self.last_error: str | None = None
        self.on_published: Callable[[Checkpoint], None] = lambda checkpoint: None
        self.on_fatal: Callable[[BaseException], Awaitable[None]] = _ignore

    # -- partitions come and go ------------------------------------------------------------------

    @property
    def warm(self) -> bool:
        """Whether the kernels have been compiled."""
        return self._kernels.done()

    async def warmed_up(self) -> None:
        """Wait until the kernels have been compiled."""
        await asyncio.wrap_future(self._kernels)

    async def take_over(self, partitions: Collection[TopicPartition]) -> Takeover:
        """Restore the state of these partitions, while those that are here go on.

        Raises TransactionError, RestoreError or KafkaException while Kafka is away, or while the transaction
        of a killed worker is still open; StateRefusedError.
        """
        # before the kernels are compiled there is no progress, and none is expected
        await self.warmed_up()
        committed = await self._stable_offsets(partitions)
        return await asyncio.get_running_loop().run_in_executor(
            self._restore_thread, partial(self._take_over, partitions, committed)
        )

    async def _stable_offsets(self, partitions: Collection[TopicPartition]) -> Committed:
        """The committed offsets, once no open transaction can change them; checkpoints go on between two looks.

        This also fences and finishes what an earlier producer of this worker has left.
        """
        look = partial(self._publisher.committed, partitions, wait=False)
        deadline = self._clock() + self._stable_wait_s
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(
                    self._checkpoint_thread, look
                )
            except TransactionError as error:
                if error.code not in LATER or self._clock() > deadline:
                    raise
            await asyncio.sleep(_LOOK_PAUSE_S)

    def add(self, taken: Takeover) -> None:
        """Work on these partitions from now on."""
        self._observer.restored(taken.records, taken.seconds)
        log.info(
            "tables.restored",
            partitions=len(taken.tables),
            records=taken.records,
            seconds=round(taken.seconds, 2),
        )
        self._committed.update(taken.positions)
        self.publication.settled(taken.positions.keys())
        self.processor.add(taken.positions, taken.tables, taken.stream_times)
        self._idle.watch(self._committed)

    async def give_up(self, partitions: Collection[TopicPartition]) -> None:
        """Publish what is staged of these partitions, if that is still possible, and forget them."""
        self.processor.close(partitions)
        await self.checkpoint()
        await self._forget(partitions)

    async def drop(self, partitions: Collection[TopicPartition]) -> None:
        """Forget these partitions: others have them, and what is staged of them must not be published."""
        self.processor.close(partitions)
        async with self._checkpointing:
            await self._rewind()
        await self._forget(partitions)

    async def _forget(self, partitions: Collection[TopicPartition]) -> None:
        async with self._checkpointing:
            self.processor.remove(partitions)
            for here in partitions:
                self._committed.pop(here, None)
            self.publication.settled(partitions)
            self._idle.watch(self._committed)
            if not self._committed:
                self._waiting_since = None
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
                if agent.cls is batch.cls and len(given := batch.for_agent(agent.name)):
                    await self._run_agent(agent, given, work, made)
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
            if here not in self._committed:  # it has been given up meanwhile
                return
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
            if self._abandoned or not self.processor.dirty:
                return
            staged = self.processor.freeze()
            self._room.set()
            started = time.perf_counter()
            try:
                checkpoint = await asyncio.get_running_loop().run_in_executor(
                    self._checkpoint_thread, self.processor.prepare, staged, self._store.read
                )
                size = await self.publication.publish(checkpoint, self._committed.keys())
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
        self._abandoned = True
        self.restored = False
        self.processor.reset({})

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
        self.processor.reset(self._committed)
        for agent in self._agents:  # what they remember is of events that they will see again
            await agent.stop()
        self._room.set()
        if not self.publication.leaving:  # the consumer waits for us
            await self._consumer.rewind(self._committed)

    async def close(self) -> None:
        """Publish what is staged, and give up threads and connections."""
        self._publisher.end()
        self._restore.end()
        self.publication.leave(True)
        await self.give_up(list(self._committed))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._checkpoint_thread, self._publisher.close)
        self._engine_thread.shutdown(wait=True, cancel_futures=True)
        self._restore_thread.shutdown(wait=True, cancel_futures=True)
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

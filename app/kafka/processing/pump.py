"""Fetches become staged work: decoded and reduced in a thread of their own, given to agents, and staged as a whole."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import structlog

from app.codecs.record_batch import CorruptRecordBatch, Fetch
from app.engine import names
from app.engine.language.batch import Batch, Emission, Update
from app.engine.processing.agent import AgentRunner, Outcome
from app.engine.processing.checkpoint import Record
from app.engine.processing.dead_letter import dead_letter
from app.engine.processing.processor import Processor
from app.engine.processing.work import TopicPartition, Work
from app.kafka.processing.checkpoints import Checkpoints
from app.kafka.processing.surroundings import ConsumerControl, Observer

log = structlog.get_logger(__name__)

_AHEAD_MAX = 2
_STUCK_S = 5.0
_CORRUPT_PAUSE_S = 1.0


@dataclass
class _Made:
    """What all agents together made of one fetch."""

    emissions: list[Emission] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)


class Pump:
    """Takes one fetch after the other; the next one is decoded while agents work on the one before.

    thread: decodes, one fetch at a time. traceback_bytes_max: of a dead letter.
    """

    def __init__(
        self,
        processor: Processor,
        checkpoints: Checkpoints,
        agents: Sequence[AgentRunner],
        consumer: ConsumerControl,
        observer: Observer,
        thread: Executor,
        *,
        traceback_bytes_max: int,
        clock: Callable[[], float],
    ) -> None:
        self._processor = processor
        self._checkpoints = checkpoints
        self._agents = agents
        self._consumer = consumer
        self._observer = observer
        self._thread = thread
        self._traceback_bytes_max = traceback_bytes_max
        self._clock = clock
        self._ahead: asyncio.Queue[tuple[Fetch, asyncio.Future[Work | None]]] = asyncio.Queue(
            _AHEAD_MAX
        )
        self._stuck: dict[TopicPartition, tuple[tuple[int, int], float]] = {}

    async def run(self, fetches: AsyncIterable[Fetch]) -> None:
        """Take fetches for ever."""
        finisher = asyncio.ensure_future(self._finish_all())
        loop = asyncio.get_running_loop()
        try:
            async for fetch in fetches:
                future = loop.run_in_executor(self._thread, self._processor.compute, fetch)
                try:
                    await self._ahead.put((fetch, future))
                except BaseException:  # it is in nobody's hands now
                    self._consumer.release(fetch)
                    raise
                del fetch, future  # they are large, and the next may be long in coming
                if finisher.done():
                    break
        finally:
            finisher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await finisher

    async def _finish_all(self) -> None:
        while True:
            await self._finish_next(*await self._ahead.get())

    async def _finish_next(self, fetch: Fetch, future: asyncio.Future[Work | None]) -> None:
        try:
            work = await future
            if work is None:
                await self._out_of_order(fetch)
            else:
                await self._finish(work)
        except CorruptRecordBatch as error:
            log.error("fetch.corrupt", error=str(error))
            await asyncio.sleep(_CORRUPT_PAUSE_S)
            await self._checkpoints.rewind()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # a bug, or Polars' own panic, which is no Exception: nothing is lost if we end here
            await self._checkpoints.abandon(error, "engine.failed")
            raise
        finally:
            self._consumer.release(fetch)

    async def _finish(self, work: Work) -> None:
        """Let the agents work on the batches, then stage everything at once."""
        await self._checkpoints.room()
        made = _Made()
        for batch in work.batches:
            for agent in self._agents:
                if agent.cls is batch.cls and len(given := batch.for_agent(agent.name)):
                    outcome = await agent.run(given)
                    if outcome.stopped:  # for the work is read again, or by others
                        return
                    self._collect(agent, given, work, outcome, made)
        if self._processor.stage(work, made.emissions, made.letters, made.updates):
            self._checkpoints.staged(work)
            fallback = work.decoded.fallback if work.decoded else 0
            self._observer.fetched(work.fetch, work.events, fallback)

    def _collect(
        self, agent: AgentRunner, batch: Batch, work: Work, outcome: Outcome, made: _Made
    ) -> None:
        made.emissions += outcome.emissions
        made.updates += outcome.updates
        assert work.decoded is not None
        for failure in outcome.failures:
            made.letters.append(
                dead_letter(
                    names.dead_letter_topic(self._processor.app_id),
                    work.decoded.records,
                    failure.row,
                    source=(batch.topic, batch.partition),
                    stage="agent",
                    reason=failure.reason,
                    attempts=failure.attempts,
                    traceback=failure.traceback[-self._traceback_bytes_max :],
                    agent=agent.name,
                )
            )

    async def _out_of_order(self, fetch: Fetch) -> None:
        """A fetch that does not follow on: stale after a rewind, or the log was cut by its retention.

        Stale ones are dropped. Where nothing else comes for a while, look at where the logs begin now. All partitions
        are read again for it, so what they have missed until then counts no more.
        """
        here = (fetch.topic, fetch.partition)
        expected = self._processor.position(*here)
        if expected is None or fetch.end <= expected:
            return
        if fetch.start < expected:
            await self._consumer.rewind({here: expected})
            return
        stand = (self._checkpoints.rewinds, expected)
        since = self._stuck.get(here)
        if since is None or since[0] != stand:
            self._stuck[here] = (stand, self._clock())
        elif self._clock() - since[1] >= _STUCK_S:
            del self._stuck[here]
            log.warning(
                "fetch.missing",
                topic=fetch.topic,
                partition=fetch.partition,
                expected=expected,
                found=fetch.start,
            )
            await self._checkpoints.follow_logs()

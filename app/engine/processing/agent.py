"""Runs a user's agent over batches, and finds the events that it fails on.

The agent is an ordinary coroutine, `async for batch in stream`. A batch counts as done when the agent
asks for the next one. Everything that it did with a batch is staged in the batch, so a failed batch can be
dropped and tried again in halves, until the events that make it fail stand alone.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from app.engine.batch_columns import OFFSET, TIME
from app.engine.language.batch import Batch, Emission, Update, frame_of
from app.engine.state.store import StateRefusedError
from app.events.event import Event

AnyEvent = TypeVar("AnyEvent", bound=Event)
_REASON_LENGTH_MAX = 1000
_STOP_S_MAX = 5.0

AgentFunction = Callable[["Stream[Any]"], Awaitable[None]]


@dataclass(frozen=True)
class Failure:
    """An event that an agent failed on: its record number in the fetch, and why."""

    row: int
    reason: str
    traceback: str
    attempts: int


@dataclass
class Outcome:
    """What an agent made of a batch. stopped: nothing; it was stopped meanwhile, and the batch must be read again."""

    emissions: list[Emission] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    stopped: bool = False


class AgentReturnedError(RuntimeError):
    """An agent has ended its loop; it must go on for as long as the worker runs."""


class Stream(Generic[AnyEvent]):
    """What an agent iterates: batches, or with `events()` single events of the agent's type."""

    def __init__(self) -> None:
        self._batches: asyncio.Queue[Batch] = asyncio.Queue(1)
        self._rest = asyncio.get_running_loop().create_future()
        self._batch: Batch | None = None
        self._position = 0
        self._emitted: dict[type[Event], list[tuple[int, Event]]] = {}

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        self._flush()
        self._batch = None
        self.rests()
        self._batch = await self._batches.get()
        return self._batch

    async def events(self) -> AsyncIterator[AnyEvent]:
        """Each event as an object of its type, in order; emit from it with `stream.emit(event)`."""
        async for batch in self:
            for self._position, event in enumerate(batch.events()):
                yield cast(AnyEvent, event)

    def emit(self, event: Event) -> None:
        """Stage one event, caused by the one that `events()` has given last.

        Events of one type keep their order. EmitError, at the end of the batch: a field has another type.
        """
        assert self._batch is not None, "emit() is for use inside the loop over events()"
        self._emitted.setdefault(type(event), []).append((self._position, event))

    def _flush(self) -> None:
        """Stage the single events that were emitted, as one frame per type."""
        emitted, self._emitted = self._emitted, {}
        for cls, items in emitted.items():
            assert self._batch is not None
            positions = [position for position, _ in items]
            frame = frame_of(cls, [event for _, event in items])
            causes = self._batch.frame[positions].select(TIME, OFFSET)
            self._batch.emit(cls, frame.hstack(causes))

    def deliver(self, batch: Batch) -> None:
        """Hand over a batch."""
        self._rest = asyncio.get_running_loop().create_future()
        self._position = 0
        self._batches.put_nowait(batch)

    def rests(self, _: object = None) -> None:
        """The agent asks for the next batch, or has ended."""
        if not self._rest.done():
            self._rest.set_result(None)

    @property
    def rest(self) -> asyncio.Future[None]:
        """Done when the agent asks for the next batch, or has ended."""
        return self._rest


class AgentRunner:
    """One agent: its function, and the task that runs it.

    attempts_max: how often a single event is tried before it becomes a dead letter; at least 1. event_bytes_max: of the
    texts of one event that it emits, or of one row for a table.
    """

    def __init__(
        self,
        name: str,
        cls: type[Event],
        function: AgentFunction,
        *,
        attempts_max: int = 3,
        event_bytes_max: int = 256 << 10,
    ) -> None:
        self.name = name
        self.cls = cls
        self._function = function
        self._attempts_max = attempts_max
        self._event_bytes_max = event_bytes_max
        self._stream: Stream[Event] | None = None
        self._task: asyncio.Future[None] | None = None

    @property
    def summary(self) -> str:
        """The first line of the function's docstring; empty: it has none."""
        return (self._function.__doc__ or "").strip().partition("\n")[0]

    def fresh(self) -> AgentRunner:
        """The same agent with a task of its own, for another loop."""
        return AgentRunner(
            self.name,
            self.cls,
            self._function,
            attempts_max=self._attempts_max,
            event_bytes_max=self._event_bytes_max,
        )

    async def run(self, batch: Batch) -> Outcome:
        """Let the agent work on a batch; what it fails on is told, the rest goes through.

        Cancelled, it leaves the agent stopped. StateRefusedError: the
        agent has read a table whose state is damaged.
        """
        outcome = Outcome()
        pending = [(batch.part(0, len(batch)), 1)]
        while pending:
            part, attempt = pending.pop()
            part.agent = self.name
            try:
                error = await self._try(part)
                if error is None:
                    error = part.too_large(self._event_bytes_max)
            except _StoppedError:
                return Outcome(stopped=True)
            except asyncio.CancelledError:
                await self.stop()
                raise
            if error is None:
                outcome.emissions += part.emissions
                outcome.updates += part.updates
            elif len(part) > 1:
                half = len(part) // 2
                pending += [(part.part(half, len(part) - half), 1), (part.part(0, half), 1)]
            elif attempt < self._attempts_max:
                pending.append((part.part(0, 1), attempt + 1))
            else:
                trace = "".join(traceback.format_exception(error))
                outcome.failures.append(Failure(int(part.rows[0]), _reason(error), trace, attempt))
        return outcome

    async def stop(self) -> None:
        """End the agent's task."""
        await stop_agents([self])

    def cancel(self) -> asyncio.Future[None] | None:
        """The next batch begins a new task; gives the one that is to end, if there is one."""
        task, self._task = self._task, None
        if task is None or task.done():
            return None
        task.cancel()
        return task

    async def _try(self, batch: Batch) -> BaseException | None:
        """Give the agent one batch; the error that it ended with, or None."""
        task, stream = self._task, self._stream
        if task is None or stream is None or task.done():
            stream = self._stream = Stream()
            task = self._task = asyncio.ensure_future(self._function(stream))
            task.add_done_callback(stream.rests)
            await self._until_rest(task, stream)  # it asks for its first batch
        if not task.done():
            stream.deliver(batch)
            await self._until_rest(task, stream)
        if not task.done():
            return None
        error = None if task.cancelled() else task.exception()
        if error is None:
            return AgentReturnedError(
                f"agent {self.name} has returned; let it loop over its stream for ever"
            )
        if isinstance(error, KeyboardInterrupt | SystemExit | StateRefusedError):
            raise error  # not the event's fault
        return error  # a panic of Polars is no Exception, and yet the event's fault

    async def _until_rest(self, task: asyncio.Future[None], stream: Stream[Event]) -> None:
        await stream.rest
        if self._task is not task:
            raise _StoppedError


async def stop_agents(agents: Iterable[AgentRunner]) -> None:
    """End the tasks of all of them, at one moment; then wait until they have ended.

    One that took its time would else have another one work on a batch that it is stopped at.
    """
    if tasks := [task for agent in agents if (task := agent.cancel()) is not None]:
        await asyncio.wait(tasks, timeout=_STOP_S_MAX)  # one that swallows this is left alone


class _StoppedError(Exception):
    """The agent was stopped while it was at work."""


def _reason(error: BaseException) -> str:
    """The error in one line, whatever its text may be."""
    try:
        text = str(error)
    except Exception as second:
        text = f"(its text cannot be had: {type(second).__name__})"
    return f"{type(error).__name__}: {text}"[:_REASON_LENGTH_MAX]

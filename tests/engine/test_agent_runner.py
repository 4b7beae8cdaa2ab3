"""An agent that fails: the events it fails on are found and told, and nothing else is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.batch_columns import OFFSET, TIME
from app.engine.processing.agent import AgentFunction, AgentRunner, Outcome, Stream, stop_agents
from app.engine.state.store import StateRefusedError
from app.events import Event
from tests.engine.batches import batch_of
from tests.engine.sales import Sale


class Seen(Event, type="test.seen", topic="seen"):
    """Tells which events got through, in which order."""

    size: int


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


ERRORS: list[Callable[[], Exception]] = [
    lambda: ValueError("poison"),
    lambda: KeyError(("a", 1)),
    lambda: ExceptionGroup("several", [ValueError("a"), TypeError("b")]),
    lambda: StopAsyncIteration(),
    lambda: AssertionError(),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    lambda: ValueError("\ud800 is half of a character"),
    lambda: ValueError("long " * 100_000),
    Unprintable,
]
POISON = 0


def poisoned(frame: pl.DataFrame) -> bool:
    return POISON in frame["size"]


def by_batch(error: Callable[[], Exception]) -> AgentFunction:
    """Emits first, and then looks for poison: what it has emitted must be dropped."""

    async def agent(stream: Stream) -> None:
        async for batch in stream:
            batch.emit(Seen, batch.frame)
            await asyncio.sleep(0)
            if poisoned(batch.frame):
                raise error()

    return agent


def by_event(error: Callable[[], Exception]) -> AgentFunction:
    async def agent(stream: Stream) -> None:
        async for sale in stream.events():
            assert isinstance(sale, Sale) and sale.size is not None
            stream.emit(Seen(size=sale.size))
            if sale.size == POISON:
                raise error()

    return agent


def returning(error: Callable[[], Exception]) -> AgentFunction:
    async def agent(stream: Stream) -> None:
        async for batch in stream:
            batch.emit(Seen, batch.frame)
            if poisoned(batch.frame):
                return

    return agent


def failing_at_each_second_start(error: Callable[[], Exception]) -> AgentFunction:
    starts = 0
    work = by_batch(error)

    async def agent(stream: Stream) -> None:
        nonlocal starts
        starts += 1
        if starts % 2 == 0:
            raise error()
        await work(stream)

    return agent


def seen(outcome: Outcome) -> list[int]:
    """What got through."""
    return [size for item in outcome.emissions for size in item.frame["size"]]


def with_runner(
    function: AgentFunction, test: Callable[[AgentRunner], Awaitable[None]], attempts_max: int = 3
) -> None:
    """Run the test, stop the agent, and see that no task is left."""

    async def run() -> None:
        runner = AgentRunner("agent", Sale, function, attempts_max=attempts_max)
        await test(runner)
        await runner.stop()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


@pytest.mark.parametrize(
    "kind",
    [by_batch, by_event, returning, failing_at_each_second_start],
    ids=lambda kind: kind.__name__,
)
@given(
    sizes=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=3),
    error=st.sampled_from(ERRORS),
    attempts_max=st.integers(2, 3),
)
def test_exactly_the_poison_is_told(
    kind: Callable[[Callable[[], Exception]], AgentFunction],
    sizes: list[list[int]],
    error: Callable[[], Exception],
    attempts_max: int,
) -> None:
    async def test(runner: AgentRunner) -> None:
        for batch in sizes:
            outcome = await runner.run(batch_of([Sale(shop="s", size=size) for size in batch]))
            rows = [failure.row for failure in outcome.failures]
            assert rows == [row for row, size in enumerate(batch) if size == POISON]
            assert {failure.attempts for failure in outcome.failures} <= {attempts_max}
            assert seen(outcome) == [size for size in batch if size != POISON]
            name = "AgentReturnedError" if kind is returning else type(error()).__name__
            for failure in outcome.failures:
                assert failure.reason.startswith(name)
                assert len(failure.reason) < 2000

    with_runner(kind(error), test, attempts_max)


def test_an_agent_that_never_starts_fails_on_every_event() -> None:
    async def agent(stream: Stream) -> None:
        raise OSError("no network")

    async def test(runner: AgentRunner) -> None:
        outcome = await runner.run(batch_of([Sale(shop=shop) for shop in "abc"]))
        assert [failure.row for failure in outcome.failures] == [0, 1, 2]
        assert {failure.reason for failure in outcome.failures} == {"OSError: no network"}
        assert seen(outcome) == []

    with_runner(agent, test)


def test_the_traceback_leads_to_the_agent() -> None:
    async def test(runner: AgentRunner) -> None:
        (failure,) = (await runner.run(batch_of([Sale(shop="s", size=POISON)]))).failures
        assert failure.reason == "ValueError: poison"
        assert "raise error()" in failure.traceback
        assert failure.traceback.endswith("ValueError: poison\n")

    with_runner(by_batch(ERRORS[0]), test)


def test_an_event_that_fails_once_gets_through() -> None:
    tries = 0

    async def agent(stream: Stream) -> None:
        nonlocal tries
        async for batch in stream:
            tries += 1
            if tries < 3:
                raise TimeoutError
            batch.emit(Seen, batch.frame)

    async def test(runner: AgentRunner) -> None:
        outcome = await runner.run(batch_of([Sale(shop="s", size=1)]))
        assert (seen(outcome), outcome.failures, tries) == ([1], [], 3)

    with_runner(agent, test)


async def settled() -> None:
    """Let all tasks come as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


def held(gate: asyncio.Event) -> AgentFunction:
    """Waits in each batch until the gate is open."""

    async def agent(stream: Stream) -> None:
        async for batch in stream:
            await gate.wait()
            await asyncio.sleep(0)
            batch.emit(Seen, batch.frame)

    return agent


def test_a_run_that_was_cancelled_leaves_nothing_to_the_next() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        runner = AgentRunner("agent", Sale, held(gate))
        first = asyncio.ensure_future(runner.run(batch_of([Sale(shop="s", size=1)])))
        await settled()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.set()
        outcome = await runner.run(batch_of([Sale(shop="s", size=size) for size in (2, 3)]))
        assert (seen(outcome), outcome.failures) == ([2, 3], [])
        await runner.stop()

    asyncio.run(run())


def test_an_agent_that_is_stopped_at_work_is_not_started_again() -> None:
    async def run() -> None:
        runner = AgentRunner("agent", Sale, held(asyncio.Event()))
        running = asyncio.ensure_future(runner.run(batch_of([Sale(shop=shop) for shop in "ab"])))
        await settled()
        await runner.stop()
        outcome = await asyncio.wait_for(running, 1)
        assert outcome == Outcome(stopped=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


async def test_damage_that_an_agent_meets_is_not_its_events_fault() -> None:
    """The worker must end; a dead letter would take the event out of what counts."""
    runner = AgentRunner("reader", Sale, by_batch(lambda: StateRefusedError("damaged")))
    with pytest.raises(StateRefusedError, match="damaged"):
        await runner.run(batch_of([Sale(shop="a", size=POISON)]))
    await runner.stop()


async def test_agents_are_stopped_at_one_moment() -> None:
    """What another one is given while one takes its time to end is worked on, by a task that nobody stops."""
    ended = asyncio.Event()

    async def slow_to_end(stream: Stream) -> None:
        async for _ in stream:
            try:
                await asyncio.Event().wait()
            finally:
                await ended.wait()

    slow = AgentRunner("slow", Sale, slow_to_end)
    other = AgentRunner("other", Sale, by_event(ValueError))
    at_work = asyncio.ensure_future(slow.run(batch_of([Sale(shop="a", size=1)])))
    await other.run(batch_of([Sale(shop="a", size=1)]))
    stopping = asyncio.ensure_future(stop_agents([slow, other]))
    await settled()
    outcome = asyncio.ensure_future(other.run(batch_of([Sale(shop="b", size=2)])))
    await settled()
    ended.set()
    await stopping
    assert seen(await outcome) == [2]
    assert (await at_work).stopped
    await other.stop()


class Copied(Event, type="test.copied", topic="copied"):
    """A text that is emitted."""

    shop: str


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_what_is_too_large_to_be_sent_is_told(sizes: list[int]) -> None:
    """By the event that it came from, and the rest goes through; in bytes, of which some letters take two."""

    async def copy(stream: Stream) -> None:
        async for batch in stream:
            batch.emit(Copied, batch.frame.select("shop", TIME, OFFSET))

    async def run() -> None:
        runner = AgentRunner("copy", Sale, copy, attempts_max=2, event_bytes_max=40)
        outcome = await runner.run(batch_of([Sale(shop="é" * size) for size in sizes]))
        sent = [len(shop) for item in outcome.emissions for shop in item.frame["shop"]]
        assert sent == [size for size in sizes if size <= 20]
        failed = [sizes[failure.row] for failure in outcome.failures]
        assert failed == [size for size in sizes if size > 20]
        assert all("at most 40 can be sent" in failure.reason for failure in outcome.failures)
        await runner.stop()

    asyncio.run(run())

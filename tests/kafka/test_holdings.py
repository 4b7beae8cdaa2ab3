"""What a worker holds follows what the group assigns, also when that changes while state is being restored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from concurrent.futures import Future
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from app.engine.processing.work import TopicPartition
from app.kafka.changelogs.restore import RestoreError
from app.kafka.processing import holdings
from app.kafka.processing.holdings import Holdings
from app.kafka.transactions.fence import Fence

A, B, C = (("sales", number) for number in range(3))


class Restored:
    """Stands in for a `Takeover`."""

    def __init__(self, partitions: Collection[TopicPartition]) -> None:
        self.positions = dict.fromkeys(sorted(partitions), 7)

    def only(self, partitions: Collection[TopicPartition], _processor: Any) -> Restored:
        return Restored(partitions)


class FakeRunner:
    """Notes what it is told; a take-over ends when the test says so."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.asked: asyncio.Queue[tuple[list[TopicPartition], asyncio.Future[None]]] = (
            asyncio.Queue()
        )
        self.assigned = self.restored = False
        self.last_error: str | None = None
        self.warm = True
        self.steps = 0
        self.processor = None
        self.publication = self

    async def warmed_up(self) -> None:
        """It is."""

    async def take_over(self, partitions: Collection[TopicPartition]) -> Restored:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self.asked.put((sorted(partitions), done))
        await done
        return Restored(partitions)

    def add(self, taken: Restored) -> None:
        self.log.append(("add", *taken.positions))

    async def give_up(self, partitions: Collection[TopicPartition]) -> None:
        self.log.append(("give up", *sorted(partitions)))

    async def drop(self, partitions: Collection[TopicPartition]) -> None:
        self.log.append(("drop", *sorted(partitions)))

    def moved(self, disowned: Collection[TopicPartition]) -> None:
        if disowned:
            self.log.append(("disown", *sorted(disowned)))

    def leave(self, leaving: bool) -> None:
        """A checkpoint does not wait."""


class FakeConsumer:
    def __init__(self, log: list[tuple[Any, ...]]) -> None:
        self._log = log
        self.told = asyncio.Event()

    async def begin(self, positions: dict[TopicPartition, int]) -> None:
        self._log.append(("begin", *positions))
        self.told.set()

    async def let_go(self, partitions: Collection[TopicPartition]) -> None:
        self._log.append(("let go", *sorted(partitions)))
        self.told.set()

    def awaited(self) -> Collection[TopicPartition]:
        return ()

    def departed(self) -> Collection[str]:
        return ()


class FakeStandbys:
    """Notes what there are copies of; it is as it is told at once, or when the test says so."""

    def __init__(self) -> None:
        self.sources: frozenset[TopicPartition] = frozenset()
        self.busy = False
        self.asked: list[Future[None]] = []

    def ready(self) -> frozenset[TopicPartition]:
        return self.sources

    def follow(
        self, sources: Collection[TopicPartition], ours: Collection[TopicPartition]
    ) -> Future[None]:
        assert not set(sources) & set(ours)
        self.sources = frozenset(sources)
        done: Future[None] = Future()
        self.asked.append(done)
        if not self.busy:
            self.free()
        return done

    def free(self) -> None:
        for done in self.asked:
            done.set_result(None)
        self.asked.clear()


@asynccontextmanager
async def following() -> AsyncIterator[SimpleNamespace]:
    runner = FakeRunner()
    consumer = FakeConsumer(runner.log)
    failures: list[BaseException] = []

    async def fatal(error: BaseException) -> None:
        failures.append(error)

    standbys = FakeStandbys()
    fence = Fence("nowhere:1", 1)
    found = Holdings(runner, consumer, standbys, fence, fatal)  # type: ignore[arg-type]
    task = asyncio.ensure_future(found.run())

    async def told() -> None:
        async with asyncio.timeout(10):
            await consumer.told.wait()
        consumer.told.clear()

    async def asked() -> tuple[list[TopicPartition], asyncio.Future[None]]:
        async with asyncio.timeout(10):
            return await runner.asked.get()

    yield SimpleNamespace(
        runner=runner, log=runner.log, it=found, told=told, asked=asked, standbys=standbys
    )
    task.cancel()
    assert not failures


async def hold(group: SimpleNamespace, *partitions: TopicPartition) -> None:
    group.it.follow(partitions, (), unbroken=False)
    _, restored = await group.asked()
    restored.set_result(None)
    await group.told()
    group.log.clear()


async def test_what_stays_is_not_touched() -> None:
    async with following() as group:
        group.it.follow([A, B], (), unbroken=False)
        partitions, restored = await group.asked()
        assert partitions == [A, B]
        assert not group.runner.restored
        restored.set_result(None)
        await group.told()
        assert group.log == [("add", A, B), ("begin", A, B)]
        assert group.runner.restored
        group.log.clear()
        group.it.follow([A, B, C], (), unbroken=True)
        partitions, restored = await group.asked()
        assert partitions == [C]
        restored.set_result(None)
        await group.told()
        assert group.log == [("add", C), ("begin", C)]


async def test_what_is_to_leave_is_given_up_and_let_go() -> None:
    async with following() as group:
        await hold(group, A, B)
        group.it.follow([A, B], [B], unbroken=True)
        await group.told()
        assert group.log == [("give up", B), ("let go", B)]
        group.log.clear()
        group.it.follow([A], (), unbroken=True)
        await asyncio.sleep(0)
        assert not group.log


async def test_what_was_given_up_and_stays_after_all_is_taken_over_anew() -> None:
    async with following() as group:
        await hold(group, A, B)
        group.it.follow([A, B], [B], unbroken=True)
        await group.told()
        group.it.follow([A, B], (), unbroken=True)
        partitions, _ = await group.asked()
        assert partitions == [B]


async def test_a_rebalance_during_recovery() -> None:
    """What is to leave is let go before its state is there, and the rest of the recovery goes on."""
    async with following() as group:
        group.it.follow([A, B], (), unbroken=False)
        _, restored = await group.asked()
        group.it.follow([A, B], [B], unbroken=True)
        await group.told()
        assert group.log == [("let go", B)]
        group.it.follow([A, C], (), unbroken=True)
        partitions, second = await group.asked()  # recovery during the rebalance's recovery
        assert partitions == [C]
        restored.set_result(None)
        await group.told()
        second.set_result(None)
        await group.told()
        assert group.log[1:] == [("add", A), ("begin", A), ("add", C), ("begin", C)]
        assert group.runner.restored


async def test_what_was_restored_for_an_earlier_membership_is_not_taken() -> None:
    """Between the two, somebody else can have worked on the partition."""
    async with following() as group:
        group.it.follow([A], (), unbroken=False)
        _, restored = await group.asked()
        await group.it.release()
        group.it.follow([A], (), unbroken=False)
        restored.set_result(None)
        partitions, again = await group.asked()
        assert partitions == [A]
        assert ("add", A) not in group.log
        again.set_result(None)
        await group.told()
        assert group.log[-2:] == [("add", A), ("begin", A)]


async def test_what_others_have_got_is_dropped_unpublished() -> None:
    async with following() as group:
        await hold(group, A, B)
        group.it.follow([A, B], (), unbroken=False)
        partitions, _ = await group.asked()
        assert partitions == [A, B]
        assert group.log == [("disown", A, B), ("drop", A, B)]


async def test_a_take_over_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings, "_TAKE_OVER_PAUSE_S", 0)
    async with following() as group:
        group.it.follow([A, B], (), unbroken=False)
        _, restored = await group.asked()
        restored.set_exception(RestoreError("a transaction stays open"))
        partitions, restored = await group.asked()
        assert partitions == [A, B]
        restored.set_result(None)
        await group.told()
        assert group.log == [("add", A, B), ("begin", A, B)]


async def test_there_are_copies_only_of_what_nobody_here_has() -> None:
    """A table partition in the store has one writer."""
    async with following() as group:
        await hold(group, A, B)
        group.it.follow([A, B], [B], [C], unbroken=True)
        await group.told()
        await asyncio.sleep(0)
        assert group.standbys.sources == {C}
        group.standbys.busy = True
        group.it.follow([A, C], (), [B], unbroken=True)
        await asyncio.sleep(0.01)
        assert group.standbys.sources == {B}
        assert group.runner.asked.empty(), "C is written to until the standbys let go of it"
        group.standbys.free()
        partitions, restored = await group.asked()
        assert partitions == [C]
        group.it.follow([A], (), [B, C], unbroken=True)
        await asyncio.sleep(0.01)
        assert group.standbys.sources == {B}, "C is being restored"
        restored.set_result(None)
        await asyncio.sleep(0.01)
        assert group.standbys.sources == {B, C}


async def test_what_waits_is_told_with_its_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog sees by that whether anything is done for it."""
    monkeypatch.setattr(holdings, "_TAKE_OVER_PAUSE_S", 0.0)
    async with following() as group:
        await hold(group, A)
        group.standbys.busy = True
        group.it.follow([A, B], (), unbroken=True)
        await asyncio.sleep(0.01)
        (waits,) = group.it.waiting().items()
        group.standbys.free()
        _, restored = await group.asked()
        (tried,) = group.it.waiting().items()
        restored.set_exception(RestoreError("Kafka is away"))
        _, restored = await group.asked()
        (again,) = group.it.waiting().items()
        assert (waits[0], tried[0], again[0]) == (B, B, B)
        assert waits[1] < tried[1] < again[1]
        restored.set_result(None)
        await group.told()
        assert group.it.waiting() == {}

"""Which partitions this worker holds: they follow what the group assigns, and those that stay go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog
from confluent_kafka import KafkaException

from app.engine.processing.work import TopicPartition
from app.kafka.changelogs.restore import RestoreError
from app.kafka.changelogs.standby import Standbys
from app.kafka.processing.runner import Runner
from app.kafka.processing.surroundings import ConsumerControl
from app.kafka.transactions.error import NEVER, TransactionError
from app.kafka.transactions.fence import Fence

log = structlog.get_logger(__name__)

_TAKE_OVER_PAUSE_S = 1.0


class Holdings:
    """Has the runner take over, give up and drop partitions, so that it has those that the group has assigned.

    Each assigned partition has a number, which stays the same for as long as nobody else can have had it:
    what has been restored for an earlier number is not what it is now.
    """

    def __init__(
        self,
        runner: Runner,
        consumer: ConsumerControl,
        standbys: Standbys,
        fence: Fence,
        on_fatal: Callable[[BaseException], Awaitable[None]],
    ) -> None:
        self._runner = runner
        self._consumer = consumer
        self._standbys = standbys
        self._fence = fence
        self._on_fatal = on_fatal
        self._assigned: dict[TopicPartition, int] = {}
        self._leaving: frozenset[TopicPartition] = frozenset()
        self._standing_by: frozenset[TopicPartition] = frozenset()
        self._let_go = True
        self._held: dict[TopicPartition, int] = {}
        self._taking: set[TopicPartition] = set()
        self._takers: set[asyncio.Task[None]] = set()
        self._count = 0
        self._changed = asyncio.Event()
        self._settling = asyncio.Lock()
        self.settled = asyncio.Event()
        """Set while all that is to be held is held, and more can come."""

    def follow(
        self,
        partitions: Collection[TopicPartition],
        leaving: Collection[TopicPartition],
        standing_by: Collection[TopicPartition] = (),
        *,
        unbroken: bool,
    ) -> None:
        """The group has assigned these partitions, of which some are to be given up for others.

        standing_by: others have these, and this worker is to have copies of their tables.
        unbroken: this worker has been a member throughout, so what it has been assigned before is still its own.
        """
        self._count += 1
        before = self._assigned if unbroken else {}
        self._assigned = {here: before.get(here, self._count) for here in partitions}
        self._leaving = frozenset(leaving)
        self._standing_by = frozenset(standing_by)
        self._let_go = not leaving
        self._runner.assigned = True
        self._fence.follow(self._consumer.departed())
        self._runner.publication.moved(self._gone())
        self._note()
        self._changed.set()

    async def release(self) -> None:
        """Give all partitions up: this worker stops before it joins the group again."""
        self._runner.assigned = False
        self._assigned, self._leaving, self._let_go = {}, frozenset(), True
        self._note()
        self._runner.publication.leave(True)
        try:
            async with self._settling:
                await self._runner.give_up(list(self._held))
                self._held = {}
        finally:
            self._runner.publication.leave(False)

    def close(self) -> None:
        """Follow no more; the runner still has what is held."""
        self._assigned, self._leaving, self._let_go = {}, frozenset(), True
        for task in self._takers:
            task.cancel()

    def waiting(self) -> dict[TopicPartition, int]:
        """What is to be held and is not, with a number that grows while it is tried; once the kernels are compiled."""
        missing = self._still(self._assigned.keys() - self._held.keys())
        return dict.fromkeys(missing, self._runner.steps) if self._runner.warm else {}

    async def run(self) -> None:
        """Follow for ever."""
        warm = asyncio.ensure_future(self._warm_up())
        try:
            await self._follow()
        finally:
            warm.cancel()

    async def _warm_up(self) -> None:
        await self._runner.warmed_up()
        self._note()
        self.say_able()

    def say_able(self) -> None:
        """If what others keep until this worker can take it can come now, have the group assign anew."""
        awaited = self._consumer.awaited()
        if awaited and self._runner.warm and self._standbys.ready().issuperset(awaited):
            self._consumer.rejoin()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            async with self._settling:
                await self._settle()

    async def _settle(self) -> None:
        if gone := self._gone():
            log.warning("partitions.lost", partitions=len(gone))
            await self._runner.drop(gone)
            self._forget(gone)
        if leaving := self._held.keys() & self._leaving:
            await self._runner.give_up(leaving)
            self._forget(leaving)
        if not self._let_go and not self._held.keys() & self._leaving:
            self._let_go = True
            log.info("partitions.let_go", partitions=len(self._leaving))
            await self._consumer.let_go(self._leaving)
        new = self._still(self._assigned.keys() - self._held.keys() - self._taking)
        ours = self._assigned.keys() | self._held.keys() | self._taking
        free = self._standbys.follow(self._standing_by - ours, ours)
        self.say_able()
        if new:
            self._taking.update(new)
            task = asyncio.ensure_future(self._take(new, asyncio.wrap_future(free)))
            self._takers.add(task)
            task.add_done_callback(self._takers.discard)
        self._note()

    def _gone(self) -> list[TopicPartition]:
        """What is held and not this worker's any more."""
        return [here for here, number in self._held.items() if self._assigned.get(here) != number]

    def _still(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Those of the partitions that are to be held, with their numbers."""
        return {
            here: self._assigned[here]
            for here in partitions
            if here in self._assigned and here not in self._leaving
        }

    def _forget(self, partitions: Collection[TopicPartition]) -> None:
        for here in partitions:
            self._held.pop(here, None)

    def _note(self) -> None:
        runner = self._runner
        missing = self._still(self._assigned.keys() - self._held.keys())
        runner.restored = runner.assigned and runner.warm and not missing
        if runner.restored:
            self.settled.set()
        else:
            self.settled.clear()

    async def _take(self, wanted: dict[TopicPartition, int], free: Awaitable[None]) -> None:
        """Take partitions over, however long that takes: the group may move on meanwhile.

        free: when nobody else writes to what the store has of them.
        """
        asked = set(wanted)
        try:
            await free
            while wanted and not await self._take_once(wanted):
                await asyncio.sleep(_TAKE_OVER_PAUSE_S)
                wanted = self._wanted(wanted)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            await self._on_fatal(error)
            raise
        finally:
            self._taking -= asked
            self._changed.set()

    def _wanted(self, before: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        now = self._still(before)
        return {here: number for here, number in before.items() if now.get(here) == number}

    async def _take_once(self, wanted: dict[TopicPartition, int]) -> bool:
        """Whether it is done. Not so while Kafka is away, or while the transaction of a killed worker is still open."""
        runner = self._runner
        runner.steps += 1
        try:
            await self._fence.keep_out(self._consumer.departed())
            taken = await runner.take_over(list(wanted))
        except (TransactionError, RestoreError, KafkaException) as error:
            if isinstance(error, TransactionError) and error.code in NEVER:
                raise
            runner.last_error = f"the tables cannot be restored yet: {error}"
            log.warning("tables.not_restored_yet", reason=str(error))
            return False
        runner.last_error = None
        if mine := self._wanted(wanted):
            here = taken.only(mine.keys(), runner.processor)
            runner.add(here)
            self._held.update(mine)
            self._note()
            await self._consumer.begin(here.positions)
        return True

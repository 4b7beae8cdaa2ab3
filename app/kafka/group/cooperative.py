"""aiokafka's group membership, for workers that go on while the group rebalances.

aiokafka speaks the eager protocol: everybody stops, then all join, then all begin anew. On the wire there is
little difference to the cooperative one: what a member does meanwhile is its own affair, and the assignor says
who is to let go of what (`hand_over`). So here a member stops nothing when a rebalance begins, keeps the
positions of the partitions that stay, and lets new ones wait until their state has been restored.

It goes on only if it has been a member without a gap: its claim must be of the generation before the new one.
Otherwise others may have worked on its partitions, and it gives all up before it takes any, as aiokafka does.
So does a worker that has ordinary Faust topics: their agents know no other way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import Any

import aiokafka.consumer.consumer as consumer
import structlog
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaError

from app.kafka.columnar_topics import columnar
from app.kafka.group.faust_assignor import Assignor
from app.kafka.group.leave_group import LeaveGroupOfStaticMember
from app.kafka.group.rival import find_rival

log = structlog.get_logger(__name__)

_ASK_AGAIN_S = 0.1
_JOIN_AGAIN_S = 1.0


def now() -> float:
    """Seconds, those included in which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Coordinator(GroupCoordinator):  # type: ignore[misc]
    """A member of the group. `heard_at`: since when the group can have given it up."""

    heard_at = 0.0
    unbroken = False
    """Whether the partitions that this assignment has in common with the one before have been held throughout."""
    _joined = -1
    _lost = False
    """The group has not known this member any more, or has refused it: another may have its place."""
    _stopped = False
    _grown: dict[str, int] | None = None

    @property
    def _assignor(self) -> Assignor | None:
        """None: this is a consumer of somebody else, for whom aiokafka's way is right."""
        (first, *_) = self._assignors
        return first if isinstance(first, Assignor) else None

    @property
    def cooperative(self) -> bool:
        """Whether this member can go on while it joins again."""
        topics = self._subscription.topics
        return bool(self._assignor and self.generation >= 0 and topics <= columnar)

    async def ensure_coordinator_known(self) -> None:
        """Wait until the group's coordinator is known, and first for a broker that names itself.

        One that has just come back may name no brokers at all, and aiokafka's search would end for good.
        """
        while self._client.get_random_node() is None and not self._closing.done():
            await asyncio.sleep(_ASK_AGAIN_S)
            with contextlib.suppress(KafkaError):
                await self._client.bootstrap()
        await super().ensure_coordinator_known()

    async def _do_heartbeat(self) -> bool:
        sent_at = now()  # the group counts from what it has heard last
        heard = bool(await super()._do_heartbeat())
        if heard:
            self.heard_at = sent_at
        if self._group_subscription is not None and self._unknown(self._group_subscription):
            self._client.force_metadata_update()  # once they are known, aiokafka has the group assign anew
        if self._assignor and self.generation >= 0:
            self._look_for_growth(self._assignor)
        return heard

    def _look_for_growth(self, assignor: Assignor) -> None:
        """Have the group assign anew if a topic has partitions that nobody has been given.

        aiokafka does so only in the member that has assigned them; one that was restarted, and came back to its
        place, is not told that it leads the group, and what it has been given is of before.
        """
        counts = {
            topic: len(self._cluster.partitions_for_topic(topic) or ())
            for topic in self._subscription.topics & columnar
        }
        grown = {topic: count for topic, count in counts.items() if count > assignor.given(topic)}
        if grown and grown != self._grown:
            log.info("topics.grown", partitions=grown)
            self.request_rejoin()
        self._grown = grown

    def _start_heartbeat_task(self) -> None:
        self.heard_at = now()
        super()._start_heartbeat_task()

    def reset_generation(self) -> None:
        """The group does not know this member any more."""
        self._lost = self._lost or self.generation >= 0
        super().reset_generation()
        self._performed_join_prepare = False

    async def _push_error_to_user(self, error: BaseException) -> None:
        """The group has refused this member for a reason that aiokafka does not know: tell it, and join again.

        aiokafka waits until its user has asked for the error, which Faust never does: the worker would stay
        outside of the group for good, and live.
        """
        if self._assignor is None:
            await super()._push_error_to_user(error)
            return
        log.error("group.refused", reason=str(error) or type(error).__name__)
        self._lost = True
        self.request_rejoin()
        await asyncio.wait([self._closing], timeout=_JOIN_AGAIN_S)

    async def _on_join_prepare(self, previous_assignment: Any) -> None:
        if self.cooperative:
            self._stopped = False
            self._group_subscription = None
        else:
            await self._stop(previous_assignment)

    async def _stop(self, previous_assignment: Any) -> None:
        self._stopped = True
        await super()._on_join_prepare(previous_assignment)

    async def _do_rejoin_group(self, subscription: Any) -> bool:
        if self._assignor and self._lost:
            await self._look_for_rival(self._assignor)
        self._joined = self.generation if self.cooperative else -1
        if self._assignor:
            self._assignor.join(self._joined)
        return bool(await super()._do_rejoin_group(subscription))

    async def _look_for_rival(self, assignor: Assignor) -> None:
        """End this worker if another one has its name: the later one has it, and both would take it back in turns."""
        deadline = now() + _JOIN_AGAIN_S
        while not self._closing.done():
            try:
                told, rival = await find_rival(self.group_id, assignor.mine, self._send_req)
            except KafkaError as error:
                log.warning("group.not_described", error=repr(error))
                await self.ensure_coordinator_known()
                told, rival = False, None
            if rival is not None:
                assignor.app.replaced(rival.web)  # does not come back
            if told or now() > deadline:
                self._lost = not told  # if it was not, it is asked before the next join
                return
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _perform_assignment(self, response: Any) -> Any:
        if self._assignor:
            self._assignor.form(self.generation)
            await self._find_topics()
        return await super()._perform_assignment(response)

    async def _find_topics(self) -> None:
        """A broker that has just come back may know no topics yet; by that, nobody would be given anything of them.

        They are waited for as long as the group waits for its leader; after that, each heartbeat asks.
        """
        deadline, told = now() + self._session_timeout_ms / 2000, None
        while (unknown := self._unknown(self._subscription.topics)) and now() < deadline:
            if unknown != told:
                log.warning("topics.unknown", topics=", ".join(sorted(unknown)))
                told = unknown
            await self._client.force_metadata_update()
            await asyncio.sleep(_ASK_AGAIN_S)

    def _unknown(self, topics: Iterable[str]) -> list[str]:
        return [topic for topic in topics if not self._cluster.partitions_for_topic(topic)]

    async def _on_join_complete(
        self, generation: int, member_id: str, protocol: str, member_assignment_bytes: bytes
    ) -> None:
        missed = self._joined not in (generation - 1, generation)
        subscribed_anew = self._subscription.reassignment_in_progress
        if not self._stopped and (missed or subscribed_anew):
            await self._stop(self._subscription.subscription.assignment)
        self.unbroken = not self._stopped
        self._subscription.restored = self._assignor is not None
        await super()._on_join_complete(generation, member_id, protocol, member_assignment_bytes)

    async def _maybe_leave_group(self) -> None:
        instance = self._group_instance_id
        leaves = self._assignor and self._assignor.leaves_on_stop
        if self.generation >= 0 and instance and leaves:
            request = LeaveGroupOfStaticMember(self.group_id, self.member_id, instance)
            try:
                await self._send_req(request)
            except KafkaError as error:
                log.warning("group.not_left", error=str(error))
            else:
                log.info("group.left")
        await super()._maybe_leave_group()


class Subscription(SubscriptionState):  # type: ignore[misc]
    """Partitions that stay go on where they are. New ones are not read before they are told where to begin.

    restored: this is a worker's, which restores the state of columnar partitions before it reads them.
    """

    restored = False

    def assign_from_subscribed(self, assignment: Any) -> None:
        """Take over what the group has assigned."""
        before = None if self.reassignment_in_progress else self.subscription.assignment
        if before is not None and before.tps == frozenset(assignment):
            return
        super().assign_from_subscribed(assignment)
        after = self.subscription.assignment
        for tp in after.tps:
            state = None if before is None else before.state_value(tp)
            if state is not None:
                state._assignment = after
                after._tp_state[tp] = state
            elif self.restored and tp.topic in columnar:
                state = after.state_value(tp)
                state.seek(0)
                state.pause()


def install() -> None:
    """Put our classes in the place of aiokafka's; fail at start-up if aiokafka has changed its names."""
    for name in ("GroupCoordinator", "SubscriptionState"):
        if not hasattr(consumer, name):
            raise ImportError(
                f"aiokafka.consumer.consumer has no {name}: this aiokafka is not the pinned version"
            )
    consumer.GroupCoordinator = Coordinator
    consumer.SubscriptionState = Subscription

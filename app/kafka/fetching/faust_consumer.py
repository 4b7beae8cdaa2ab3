"""Faust's consumer, as the runner sees it."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from typing import Any

from faust.types import TP

from app.codecs.record_batch import Fetch
from app.engine.language.question import NO_GENERATION
from app.engine.processing.work import TopicPartition
from app.engine.reading.members import Place
from app.kafka.group.cooperative import now
from app.kafka.group.membership import Membership


class FaustConsumer:
    """The runner's `ConsumerControl`, by way of a Faust app whose transport is ours."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._generation, self._member = NO_GENERATION, ""

    def membership(self) -> Membership:
        conf = self._app.conf
        instance = conf.consumer_group_instance_id
        return Membership(conf.id, self._generation, self._member, instance)

    def joined(self, generation: int, member: str) -> None:
        """The group has assigned its partitions in this generation."""
        self._generation, self._member = generation, member

    def place(self) -> Place:
        """This worker's place in the group, of which it is sure up to a heartbeat's time."""
        thread = self._app.consumer._thread
        if thread is None or thread._consumer is None or thread._consumer._coordinator is None:
            return Place(NO_GENERATION, "")
        unheard_s = now() - thread.coordinator.heard_at
        known = thread.coordinator.generation >= 0
        sure = known and unheard_s < self._app.conf.broker_session_timeout
        return Place(self._generation if sure else NO_GENERATION, self._member)

    def departed(self) -> Collection[str]:
        departed: frozenset[str] = self._app.assignor.departed  # they have one name for both
        return departed

    async def begin(self, positions: Mapping[TopicPartition, int]) -> None:
        thread = self._app.consumer._thread
        await thread.begin({TP(*here): offset for here, offset in positions.items()})

    def awaited(self) -> Collection[TopicPartition]:
        awaited: frozenset[TP] = self._app.assignor.awaited
        return awaited

    async def let_go(self, partitions: Collection[TopicPartition]) -> None:
        found = [TP(*here) for here in partitions]
        await self._app.consumer._thread.hold(found)
        self._app.assignor.let_go(found)
        self.rejoin()

    async def rewind(self, positions: Mapping[TopicPartition, int]) -> None:
        await self._app.consumer.rewind({TP(*here): offset for here, offset in positions.items()})

    def rejoin(self) -> None:
        self._app.consumer._thread.rejoin()

    def release(self, fetch: Fetch) -> None:
        self._app.consumer.release(fetch)

    def silent_s(self, topic: str, partition: int) -> float:
        told_ms = self._app.consumer.last_answer_ms(TP(topic, partition))
        return math.inf if told_ms is None else time.monotonic() - told_ms / 1000

    def stable_end(self, here: TopicPartition) -> int | None:
        """How far a partition can be read: its last stable offset, as the last fetch told it."""
        tp, consumer = TP(*here), self._app.consumer
        if tp not in consumer.assignment():
            return None
        end: int | None = consumer._thread.last_stable_offset(tp)
        return end

    def fetch_bytes(self) -> int:
        """Of fetches that have come and are not taken yet."""
        size: int = self._app.consumer.fetch_bytes
        return size

    def caught_up(self, topic: str, partition: int, position: int) -> bool:
        end = self._app.consumer.highwater(
            TP(topic, partition)
        )  # not the stable one: what is open may commit
        return end is not None and position >= end

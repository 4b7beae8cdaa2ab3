"""Who is in the consumer group, what each member owns, and where its web server is: asked of Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError, for_code
from yarl import URL

from app.engine.reading.members import Member, Place
from app.kafka.group.faust_assignor import Said

log = structlog.get_logger(__name__)

_PAUSE_S = 0.2
"""Kafka is not asked more often than that, however many reads find their worker away."""


class GroupMembers:
    """The members of the group, as its coordinator describes them; kept until the next rebalance.

    While the group is rebalancing, or Kafka does not answer, they stay as they were last known.
    """

    def __init__(
        self, bootstrap_servers: str, group: str, place: Callable[[], Place], *, timeout_s: float
    ) -> None:
        self._servers = bootstrap_servers
        self._group = group
        self._place = place
        self._timeout_s = timeout_s
        self._admin: AIOKafkaAdminClient | None = None
        self._asking = asyncio.Lock()
        self._members: Sequence[Member] = ()
        self._generation: int | None = None
        self._asked_at = 0.0

    async def known(self) -> Sequence[Member]:
        """As they were when this worker last looked; not before the last rebalance."""
        async with self._asking:
            if self._generation != self._place().generation or not self._members:
                await self._look()
            return self._members

    async def anew(self) -> Sequence[Member]:
        """As they are now; or were a moment ago."""
        async with self._asking:
            await self._look()
            return self._members

    async def close(self) -> None:
        """Give up the connections."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()

    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._asked_at < _PAUSE_S:
            return
        generation = self._place().generation
        try:
            async with asyncio.timeout(self._timeout_s):
                members = await self._described()
        except (KafkaError, TimeoutError) as error:
            log.warning("group.not_described", error=repr(error))
            await self.close()
            return
        finally:
            self._asked_at = asyncio.get_running_loop().time()
        if members:
            self._members, self._generation = members, generation

    async def _described(self) -> list[Member]:
        """Empty while the group is rebalancing: then nobody has an assignment."""
        if self._admin is None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
            try:
                await admin.start()
            except BaseException:
                await admin.close()
                raise
            self._admin = admin
        (answer,) = await self._admin.describe_consumer_groups([self._group])
        code, _, state, _, _, members, *_ = answer.groups[0]
        if code:
            raise for_code(code)(f"group {self._group} cannot be described")
        return [_member(*member) for member in members] if state == "Stable" else []


def _member(identity: str, client: str, host: str, metadata: bytes, assignment: bytes) -> Member:
    said = Said.by(metadata)
    assigned: Any = ConsumerProtocolMemberAssignment.decode(assignment) if assignment else None
    partitions = assigned.assignment if assigned else ()
    return Member(
        id=identity,
        name=URL(said.url).name or identity,
        address=said.web,
        partitions={topic: frozenset(numbers) for topic, numbers in partitions},
    )

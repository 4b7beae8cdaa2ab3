"""A broker that has just come back may not know its topics for a while: the leader of the group asks again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaConnectionError

from app.kafka.group import cooperative
from app.kafka.group.cooperative import Coordinator
from app.kafka.group.faust_assignor import Assignor


class Cluster:
    """Says that there are no topics, so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return set() if self.left else {0, 1}

    def force_metadata_update(self) -> asyncio.Future[bool]:
        self.left -= 1
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.set_result(True)
        return answer


def leader(cluster: Cluster, session_timeout_ms: int) -> Coordinator:
    made = Coordinator.__new__(Coordinator)
    assignor = Assignor.__new__(Assignor)
    assignor._external_topic_distribution = {"one": {"sales": [0]}, "other": {"sales": [1]}}
    made._assignors = [assignor]
    made._subscription = SimpleNamespace(topics={"sales"})
    made._group_subscription = {"sales"}
    made._session_timeout_ms = session_timeout_ms
    made._client = made._cluster = cluster
    made.generation = 3
    return made


async def test_nothing_is_assigned_before_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(3)
    monkeypatch.setattr(cooperative, "_ASK_AGAIN_S", 0)

    async def perform(coordinator: Any, _: Any) -> int:
        return len(coordinator._cluster.partitions_for_topic("sales"))

    monkeypatch.setattr(GroupCoordinator, "_perform_assignment", perform)
    assert await leader(cluster, 10_000)._perform_assignment(None) == 2
    assert await leader(Cluster(1), 0)._perform_assignment(None) == 0


async def test_a_member_that_is_refused_joins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka would wait for somebody to ask it for the error, and nobody does."""
    monkeypatch.setattr(cooperative, "_JOIN_AGAIN_S", 0.01)
    coordinator, asked = leader(Cluster(0), 0), list[bool]()
    coordinator._closing = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(Coordinator, "request_rejoin", lambda _: asked.append(True))
    async with asyncio.timeout(5):
        await coordinator._push_error_to_user(KafkaConnectionError("UnknownError"))
    assert asked


async def test_later_each_heartbeat_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def beat(_: Any) -> bool:
        return True

    monkeypatch.setattr(GroupCoordinator, "_do_heartbeat", beat)
    cluster = Cluster(2)
    coordinator = leader(cluster, 0)
    for left in (1, 0, 0):
        await coordinator._do_heartbeat()
        assert cluster.left == left
    cluster.left = 1
    coordinator._group_subscription = None  # another one leads the group
    await coordinator._do_heartbeat()
    assert cluster.left == 1


async def test_any_member_sees_that_a_topic_has_grown_and_asks_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one does that was restarted within the session timeout: it is not told that it leads the group."""

    async def beat(_: Any) -> bool:
        return True

    monkeypatch.setattr(GroupCoordinator, "_do_heartbeat", beat)
    monkeypatch.setattr(cooperative, "columnar", {"sales"})
    coordinator = leader(Cluster(0), 0)
    coordinator._group_subscription = None
    asked: list[int] = []
    monkeypatch.setattr(coordinator, "request_rejoin", lambda: asked.append(1))
    await coordinator._do_heartbeat()
    assert not asked
    coordinator._assignors[0]._external_topic_distribution = {"one": {"sales": [0]}}
    for _ in range(3):
        await coordinator._do_heartbeat()
    assert len(asked) == 1


async def test_a_coordinator_is_looked_for_once_a_broker_names_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Client:
        """Its first answers name no broker, or do not come."""

        answers = 0

        def get_random_node(self) -> int | None:
            return 1 if self.answers >= 3 else None

        async def bootstrap(self) -> None:
            self.answers += 1
            if self.answers == 2:
                raise KafkaConnectionError

    async def known(coordinator: Any) -> None:
        assert coordinator._client.get_random_node() is not None, "aiokafka would give up for good"

    monkeypatch.setattr(cooperative, "_ASK_AGAIN_S", 0)
    monkeypatch.setattr(GroupCoordinator, "ensure_coordinator_known", known)
    coordinator = Coordinator.__new__(Coordinator)
    coordinator._client = Client()
    coordinator._closing = asyncio.get_running_loop().create_future()
    await coordinator.ensure_coordinator_known()
    assert coordinator._client.answers == 3

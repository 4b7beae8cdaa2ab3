"""A worker is sure of its place in the group for as long as the group cannot have given it up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from app.engine.language.question import NO_GENERATION
from app.engine.reading.members import Place
from app.kafka.fetching import faust_consumer, transport
from app.kafka.fetching.faust_consumer import FaustConsumer
from app.kafka.group import cooperative
from app.kafka.group.cooperative import Coordinator
from app.kafka.group.faust_assignor import Assignor, Said


async def test_a_place_holds_for_a_session_after_the_last_heartbeat_that_was_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time, heard = 1000.0, True
    monkeypatch.setattr(cooperative, "now", lambda: time)
    monkeypatch.setattr(faust_consumer, "now", lambda: time)
    monkeypatch.setattr(GroupCoordinator, "_start_heartbeat_task", lambda coordinator: None)

    async def beat(_: Any) -> bool:
        nonlocal time
        time += 3  # the answer takes its time; what counts is when the question was sent
        return heard

    monkeypatch.setattr(GroupCoordinator, "_do_heartbeat", beat)
    coordinator = Coordinator.__new__(Coordinator)
    coordinator.generation = 5
    coordinator._group_subscription = None  # another one leads the group
    coordinator._assignors = [None]
    thread = transport.ConsumerThread.__new__(transport.ConsumerThread)
    thread._consumer = SimpleNamespace(_coordinator=coordinator)
    conf = SimpleNamespace(broker_session_timeout=6.0)
    app = SimpleNamespace(consumer=SimpleNamespace(_thread=thread), conf=conf)
    consumer = FaustConsumer(app)
    consumer.joined(5, "me")
    place = consumer.place

    assert place() == Place(NO_GENERATION, "me")
    coordinator._start_heartbeat_task()
    assert place() == Place(5, "me")
    time += 5
    await coordinator._do_heartbeat()
    time += 2.5
    assert place() == Place(5, "me")
    heard = False
    await coordinator._do_heartbeat()
    assert place() == Place(NO_GENERATION, "me")
    heard = True
    await coordinator._do_heartbeat()
    assert place() == Place(5, "me")
    coordinator.generation = -1
    assert place() == Place(NO_GENERATION, "me")
    app.consumer._thread = None
    assert place() == Place(NO_GENERATION, "")


def test_a_worker_says_where_its_web_server_is() -> None:
    conf = SimpleNamespace(consumer_group_instance_id="shop-worker-0")
    tables = SimpleNamespace(data={}, changelog_topics=set())
    app = SimpleNamespace(
        conf=conf,
        settings=SimpleNamespace(standby_replicas=0),
        tables=tables,
        web_address="http://127.0.0.1:6067",
        parts=None,
    )
    assignor = Assignor(app)
    metadata = assignor.metadata({"sales"})
    said = Said.by(metadata.encode())
    assert said.web == "http://127.0.0.1:6067"
    assert (said.url, said.run) == (assignor.mine.url, assignor.mine.run)
    assert Assignor(app).mine.run != said.run, "each process says another one"
    assert "shop-worker-0" in msgspec.json.decode(metadata.user_data)["url"]
    foreign = ConsumerProtocolMemberMetadata(0, ["sales"], b"\x00 something else")
    assert Said.by(foreign.encode()) == Said()
    assert Said.by(b"") == Said()

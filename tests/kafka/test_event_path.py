"""Faust looks at each partition every few seconds, whatever state it is in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from app.kafka.fetching.transport import ConsumerThread
from app.kafka.group.cooperative import Subscription

HERE = TP("words", 0)


async def test_only_a_partition_that_has_its_place_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[TP] = []

    def look(_: Any, _now: float, tp: TP) -> None:
        looked.append(tp)

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "verify_event_path", look)
    subscription = Subscription()
    thread = ConsumerThread.__new__(ConsumerThread)
    thread._consumer = SimpleNamespace(_subscription=subscription)
    thread.verify_event_path(0, HERE)
    subscription.subscribe({HERE.topic})
    thread.verify_event_path(0, HERE)
    subscription.assign_from_subscribed({TopicPartition(*HERE)})
    thread.verify_event_path(0, HERE)
    assert not looked
    subscription.subscription.assignment.state_value(HERE).seek(7)
    thread.verify_event_path(0, HERE)
    assert looked == [HERE]

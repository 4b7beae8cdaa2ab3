"""What was fetched of a partition that has just been given up is asked for its end, which must not end the worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiokafka.consumer import AIOKafkaConsumer
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.types import TP

from app.kafka.fetching.transport import ConsumerThread

GIVEN_UP = TP("sales", 3)


async def test_a_partition_that_is_given_up_at_this_moment_has_no_end() -> None:
    subscription = SubscriptionState()
    subscription.subscribe({"sales"})
    subscription.assign_from_subscribed([TP("sales", 0)])
    aiokafka: Any = object.__new__(AIOKafkaConsumer)
    aiokafka._subscription, aiokafka._closed = subscription, True
    thread: Any = object.__new__(ConsumerThread)
    thread._consumer, thread.consumer = aiokafka, SimpleNamespace(in_transaction=False)
    assert thread.highwater(GIVEN_UP) is None
    assert thread.last_stable_offset(GIVEN_UP) is None

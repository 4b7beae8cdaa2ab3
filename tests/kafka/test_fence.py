"""What a worker that is gone has left open is ended at once, and no worker is fenced without need."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.kafka.group.membership import Membership
from app.kafka.topics import TopicNeed, ensure_topics
from app.kafka.transactions.error import Code, TransactionError
from app.kafka.transactions.fence import Fence
from app.kafka.transactions.producer import TransactionalProducer

pytestmark = pytest.mark.kafka

TIMEOUT_MS = 120_000
"""Longer than any test waits."""


async def open_producer(broker: str, name: str) -> TransactionalProducer:
    producer = TransactionalProducer(broker, name, TIMEOUT_MS)
    await producer.open()
    return producer


async def test_the_offsets_of_a_dead_worker_are_known_at_once(
    broker: str, topic_name: Callable[..., str]
) -> None:
    group, source = topic_name("group"), topic_name("source")
    ensure_topics(broker, [TopicNeed(source, partitions=1)], partitions=1, replication=1)
    here = (source, 0)
    dead, heir = [await open_producer(broker, f"{group}-{name}") for name in ("Dead", "heir")]
    for commits in (True, False):  # the second is left open
        dead.begin()
        offset = 7 if commits else 9
        await dead.send_offsets(Membership(group, -1, "", None), {here: (offset, "")})
        if commits:
            await dead.commit()
    with pytest.raises(TransactionError, match="UNSTABLE"):
        await heir.committed(group, [here], wait=False)
    fence = Fence(broker, TIMEOUT_MS)
    await fence.keep_out([f"{group}-Dead"])
    assert await heir.committed(group, [here]) == {here: (7, "")}
    with pytest.raises(TransactionError) as fenced:
        await dead.commit()
    assert fenced.value.code in (Code.PRODUCER_FENCED, Code.INVALID_PRODUCER_EPOCH)
    await dead.close()
    await heir.close()


async def test_a_worker_is_fenced_once_until_it_has_been_a_member_again(
    broker: str, topic_name: Callable[..., str]
) -> None:
    name, source = topic_name("worker"), topic_name("source")
    ensure_topics(broker, [TopicNeed(source, partitions=1)], partitions=1, replication=1)
    fence = Fence(broker, TIMEOUT_MS)
    await fence.keep_out([name])
    producer = await open_producer(broker, name)
    await fence.keep_out([name])
    await commit(producer, name, source)
    fence.follow([])
    await commit(producer, name, source)
    await fence.keep_out([name])
    with pytest.raises(TransactionError):
        await commit(producer, name, source)
    await producer.close()


async def commit(producer: TransactionalProducer, group: str, source: str) -> None:
    producer.begin()
    await producer.send_offsets(Membership(group, -1, "", None), {(source, 0): (1, "")})
    await producer.commit()

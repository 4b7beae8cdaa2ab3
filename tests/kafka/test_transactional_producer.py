"""Our transactional producer on a real broker, in both dialects of Kafka's transactions."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import polars as pl
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import CoordinationType
from confluent_kafka import KafkaError

from app.codecs.record_writer import Packing, RecordColumns, UnsentBatch, write_batches
from app.codecs.texts import Texts
from app.kafka.group.membership import Membership
from app.kafka.topics import TopicNeed, ensure_topics
from app.kafka.transactions import producer as transactional_producer
from app.kafka.transactions import protocol
from app.kafka.transactions.error import Code, TransactionError
from app.kafka.transactions.producer import TransactionalProducer
from tests.kafka.workers import Cluster

pytestmark = pytest.mark.kafka

PARTITIONS = 3
TIMEOUT_MS = 20_000
_turn = itertools.count()


@pytest.fixture(params=[True, False], ids=["epoch-per-transaction", "epoch-per-producer"])
def epochs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The dialect; the broker speaks both."""
    if not request.param:
        monkeypatch.setattr(transactional_producer, "finalized_feature", lambda *_: 1)
    return bool(request.param)


@pytest.fixture
def topic(broker: str, topic_name: Callable[..., str]) -> str:
    name = topic_name("sent")
    ensure_topics(broker, [TopicNeed(name)], partitions=PARTITIONS, replication=1)
    return name


@asynccontextmanager
async def opened(broker: str, name: str) -> AsyncIterator[TransactionalProducer]:
    producer = TransactionalProducer(broker, name, TIMEOUT_MS)
    await producer.open()
    try:
        yield producer
    finally:
        await producer.close()


def batches(topic: str, texts: list[str], bytes_max: int = 1 << 20) -> list[UnsentBatch]:
    series = pl.Series(texts, dtype=pl.String)
    columns = RecordColumns(
        topic,
        Texts.of(series),
        Texts.of(series),
        np.ones(len(texts), np.int64),
        Texts.of(series),
        [],
    )
    return list(write_batches(columns, PARTITIONS, packing=Packing(bytes_max)))


async def send(producer: TransactionalProducer, topic: str, texts: list[str]) -> dict[int, int]:
    producer.begin()
    assert await producer.partition_counts([topic]) == {topic: PARTITIONS}
    ends = await producer.produce(batches(topic, texts))
    return {partition: end for (_, partition), end in ends.items()}


async def read(broker: str, topic: str) -> list[str]:
    """What a read-committed reader sees once every transaction has its marker.

    A broker answers a commit before it has written the markers, so that the last stable offsets are no end.
    """
    here = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    async with (
        AIOKafkaConsumer(bootstrap_servers=broker) as any_reader,
        AIOKafkaConsumer(bootstrap_servers=broker, isolation_level="read_committed") as consumer,
    ):
        ends = await any_reader.end_offsets(here)
        consumer.assign(here)
        await consumer.seek_to_beginning(*here)
        found: list[str] = []
        while any([await consumer.position(tp) < ends[tp] for tp in here]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [record.value.decode() for record in records]
    return sorted(found)


async def test_what_is_committed_is_seen_and_what_is_aborted_is_not(
    broker: str, topic: str, epochs: bool
) -> None:
    texts = [f"{number:04}" for number in range(500)]
    async with opened(broker, topic) as producer:
        assert producer.epoch_per_transaction is epochs
        for number in range(6):
            await send(producer, topic, texts[number::6])
            if number % 3 == 2:
                await producer.abort()
            else:
                await producer.commit()
    kept = [text for number in (0, 1, 3, 4) for text in texts[number::6]]
    assert await read(broker, topic) == sorted(kept)


async def test_ends_are_the_offsets_after_the_last_records(
    broker: str, topic: str, epochs: bool
) -> None:
    async with opened(broker, topic) as producer:
        producer.begin()
        await producer.partition_counts([topic])
        many = batches(topic, [f"{number}" for number in range(5000)], bytes_max=1000)
        assert len(many) > 30  # several rounds
        ends = await producer.produce(many)
        await producer.commit()
    counts = dict.fromkeys(range(PARTITIONS), 0)
    for batch in many:
        counts[batch.partition] += batch.count
    assert {partition: end for (_, partition), end in ends.items()} == counts
    assert len(await read(broker, topic)) == 5000


async def test_a_new_producer_ends_the_transaction_of_the_one_before(
    broker: str, topic: str, epochs: bool
) -> None:
    async with opened(broker, topic) as old:
        await send(old, topic, ["old"])
        async with opened(broker, topic) as new:
            with pytest.raises(TransactionError) as caught:
                await old.commit()
            assert caught.value.code in (Code.PRODUCER_FENCED, Code.INVALID_PRODUCER_EPOCH)
            await send(new, topic, ["new"])
            await new.commit()
    assert await read(broker, topic) == ["new"]


async def test_a_late_commit_does_not_land_on_the_next_transaction(broker: str, topic: str) -> None:
    """Jepsen's finding: with an epoch per producer, it would commit what the next one has sent so far."""
    async with opened(broker, topic) as producer:
        await send(producer, topic, ["first"])
        late = protocol.Call(
            protocol.EndTxnWithEpoch, topic, producer._producer_id, producer._epoch, True
        )
        await producer.abort()
        await send(producer, topic, ["second"])
        node = await producer._find(transactional_producer.CoordinationType.TRANSACTION, topic)
        answer = await producer._ask(node, late, protocol.EndTxnWithEpoch)
        assert answer.error_code in (Code.INVALID_PRODUCER_EPOCH, Code.PRODUCER_FENCED)
        await producer.abort()
    assert await read(broker, topic) == []


async def test_offsets_of_a_member_are_committed_with_the_transaction(
    broker: str, topic: str, epochs: bool
) -> None:
    group = f"{topic}-group"
    member = AIOKafkaConsumer(
        topic, bootstrap_servers=broker, group_id=group, enable_auto_commit=False
    )
    await member.start()
    coordinator = member._coordinator
    async with opened(broker, topic) as producer:
        for offset, commit in ((7, True), (9, False)):
            membership = Membership(group, coordinator.generation, coordinator.member_id, None)
            producer.begin()
            await producer.send_offsets(membership, {(topic, 1): (offset, f"note {offset}")})
            await (producer.commit() if commit else producer.abort())
            assert Cluster(broker, group).committed(topic)[1] == 7
        for generation, name in (
            (coordinator.generation + 1, coordinator.member_id),
            (0, "nobody"),
        ):
            producer.begin()
            with pytest.raises(TransactionError) as caught:
                await producer.send_offsets(
                    Membership(group, generation, name, None), {(topic, 1): (11, "")}
                )
            assert caught.value.code in (Code.ILLEGAL_GENERATION, Code.UNKNOWN_MEMBER_ID)
            await producer.abort()
    assert Cluster(broker, group).committed(topic)[1] == 7
    await member.stop()


async def test_a_batch_that_the_broker_refuses_is_told_and_nothing_of_it_is_seen(
    broker: str, topic_name: Callable[..., str], epochs: bool
) -> None:
    topic = topic_name("small")
    need = TopicNeed(topic, config={"max.message.bytes": "1000"})
    ensure_topics(broker, [need], partitions=PARTITIONS, replication=1)
    large = "".join(chr(0x100 + number * 7919 % 40_000) for number in range(3000))
    async with opened(broker, topic) as producer:
        with pytest.raises(TransactionError, match=r"MESSAGE_SIZE_TOO_LARGE .*small"):
            await send(producer, topic, ["a", "b", "c", large])
        await producer.abort()
        await send(producer, topic, ["d"])
        await producer.commit()
    assert await read(broker, topic) == ["d"]


async def test_a_topic_that_is_not_there_is_named(broker: str, topic: str) -> None:
    async with opened(broker, topic) as producer:
        producer._timeout_ms = 500
        producer.begin()
        with pytest.raises(TransactionError, match="no-such-topic"):
            await producer.partition_counts(["no-such-topic"])


async def test_a_broker_that_is_not_there_is_told_within_the_timeout() -> None:
    producer = TransactionalProducer("127.0.0.1:1", "nobody", 500)
    with pytest.raises(TransactionError, match="Bootstrap"):
        await producer.open()


def test_the_codes_are_those_that_librdkafka_knows() -> None:
    known = [code for code in Code if hasattr(KafkaError, code.name)]
    assert len(known) > 12
    assert [getattr(KafkaError, code.name) for code in known] == known


async def test_a_coordinator_that_is_gone_is_looked_for_anew(
    broker: str, topic_name: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another broker may be it by then."""
    async with opened(broker, topic_name("seeker")) as producer:
        here = (topic_name("anything"), 0)
        assert await producer.committed("nobody", [here]) == {}
        gone = TransactionError("OffsetFetch", None, "the broker is gone")

        async def ask(*_: object, **__: object) -> None:
            raise gone

        with monkeypatch.context() as patch:
            patch.setattr(producer, "_ask", ask)
            with pytest.raises(TransactionError, match="gone"):
                await producer.committed("nobody", [here])
        asked: list[str] = []
        find = producer._find

        async def found(kind: CoordinationType, key: str) -> int:
            asked.append(key)
            return await find(kind, key)

        monkeypatch.setattr(producer, "_find", found)
        assert await producer.committed("nobody", [here]) == {}
        assert asked == ["nobody"]

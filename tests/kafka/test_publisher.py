"""Publishing checkpoints on a real broker when answers fail to come: what is said is what has happened."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from app.engine.processing.checkpoint import Checkpoint, Record
from app.kafka.group.membership import Membership
from app.kafka.topics import TopicNeed, ensure_topics
from app.kafka.transactions import producer as transactional_producer
from app.kafka.transactions import publisher
from app.kafka.transactions.error import Code, TransactionError, worst
from app.kafka.transactions.producer import TransactionalProducer
from app.kafka.transactions.publisher import (
    AbortedError,
    ChangedHandsError,
    ExpelledError,
    FencedError,
    Publisher,
    UnknownOutcomeError,
)
from tests.kafka.workers import Cluster

pytestmark = pytest.mark.kafka


@pytest.fixture(params=[True, False], ids=["epoch-per-transaction", "epoch-per-producer"])
def epochs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The dialect of the transactions."""
    if not request.param:
        monkeypatch.setattr(transactional_producer, "finalized_feature", lambda *_: 1)
    return bool(request.param)


class Scene:
    """A group with one member, a source, an output, and the publisher of the group's worker."""

    def __init__(self, broker: str, app: str) -> None:
        self.app, self.source, self.output = app, f"{app}-source", f"{app}-output"
        needs = [
            TopicNeed(self.source, partitions=1),
            TopicNeed(self.output, partitions=2, config={"max.message.bytes": "2000"}),
        ]
        ensure_topics(broker, needs, partitions=1, replication=1)
        self.cluster = Cluster(broker, app)
        self.publisher = Publisher(
            broker, app_id=app, transactional_id=app, transaction_timeout_ms=20_000
        )
        self.membership = Membership(app, -1, "", None)
        self._offset = 0

    async def publish(self, *values: bytes, partition: int = 0) -> None:
        """One checkpoint, in a thread as the runner does it."""
        self._offset += 1
        records = [Record(self.output, None, value, partition=partition) for value in values]
        checkpoint = Checkpoint({(self.source, 0): self._offset}, records=records)
        await asyncio.to_thread(self.publisher.publish, checkpoint, self.membership)

    async def seen(self) -> list[bytes | None]:
        """What a read-committed reader sees, and that the offsets are those of it."""
        found = await asyncio.to_thread(self.cluster.read, self.output)
        return sorted(message.value() for message in found)


@pytest.fixture
def scene(broker: str, topic_name: Callable[..., str]) -> Iterator[Scene]:
    made = Scene(broker, topic_name("app"))
    yield made
    made.publisher.close()


@asynccontextmanager
async def member(broker: str, scene: Scene) -> AsyncIterator[None]:
    consumer = AIOKafkaConsumer(
        scene.source, bootstrap_servers=broker, group_id=scene.app, enable_auto_commit=False
    )
    await consumer.start()
    place = consumer._coordinator
    scene.membership = Membership(scene.app, place.generation, place.member_id, None)
    try:
        yield
    finally:
        await consumer.stop()


def failing(
    monkeypatch: pytest.MonkeyPatch, name: str, code: int | None, *, after: bool, times: int = 1
) -> None:
    """Let one call of the producer, or so many, end in an error, before or after it has done its work."""
    original = getattr(TransactionalProducer, name)
    left = iter(range(times - 1))

    async def fail(self: TransactionalProducer, *arguments: Any) -> Any:
        if next(left, None) is None:
            monkeypatch.setattr(TransactionalProducer, name, original)
        if after:
            await original(self, *arguments)
        raise TransactionError(name, code, "made to fail")

    monkeypatch.setattr(TransactionalProducer, name, fail)


async def test_a_commit_whose_answer_is_lost_counts(
    broker: str, scene: Scene, epochs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with member(broker, scene):
        for number in range(5):
            failing(monkeypatch, "commit", None, after=True)
            await scene.publish(b"%d" % number)
        assert await scene.seen() == [b"0", b"1", b"2", b"3", b"4"]
        assert scene.cluster.committed(scene.source) == {0: 5}


async def test_a_commit_that_never_arrived_is_aborted(
    broker: str, scene: Scene, epochs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with member(broker, scene):
        await scene.publish(b"before")
        failing(monkeypatch, "commit", None, after=False)
        with pytest.raises(AbortedError):
            await scene.publish(b"lost")
        assert scene.cluster.committed(scene.source) == {0: 1}
        await scene.publish(b"after")
        assert await scene.seen() == [b"after", b"before"]


async def test_an_outcome_is_waited_for_while_the_cluster_is_away(
    broker: str, scene: Scene, epochs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "_SETTLE_TIMEOUTS", 0.01)
    async with member(broker, scene):
        await scene.publish(b"0")
        failing(monkeypatch, "commit", None, after=True)
        failing(monkeypatch, "open", None, after=False, times=3)
        await scene.publish(b"1")
        assert await scene.seen() == [b"0", b"1"]
        assert scene.cluster.committed(scene.source) == {0: 2}


async def test_a_worker_that_ends_does_not_wait_for_an_outcome(
    broker: str, scene: Scene, epochs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with member(broker, scene):
        await scene.publish(b"0")
        failing(monkeypatch, "commit", None, after=True)
        failing(monkeypatch, "open", None, after=False)
        scene.publisher.end()
        with pytest.raises(UnknownOutcomeError):
            await scene.publish(b"1")


@pytest.mark.parametrize("name", ["produce", "send_offsets"])
@pytest.mark.parametrize("code", [None, Code.TRANSACTION_ABORTABLE])
async def test_what_fails_before_the_commit_is_aborted_and_later_ones_are_seen(
    broker: str,
    scene: Scene,
    epochs: bool,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    code: int | None,
) -> None:
    async with member(broker, scene):
        for number in range(3):
            failing(monkeypatch, name, code, after=True)
            with pytest.raises(AbortedError):
                await scene.publish(b"lost %d" % number)
            await scene.publish(b"%d" % number)
        assert await scene.seen() == [b"0", b"1", b"2"]


async def test_a_refused_batch_leaves_no_trace_in_the_partitions_that_took_theirs(
    broker: str, scene: Scene, epochs: bool
) -> None:
    """With one epoch per producer, the broker took the next batch for one that it had already."""
    large = random.Random(1).randbytes(5000)  # which nothing compresses
    async with member(broker, scene):
        for number in range(3):
            scene._offset += 1
            checkpoint = Checkpoint(
                {(scene.source, 0): scene._offset},
                records=[
                    Record(scene.output, None, large, partition=0),
                    Record(scene.output, None, b"lost", partition=1),
                ],
            )
            with pytest.raises(AbortedError, match="MESSAGE_SIZE_TOO_LARGE"):
                await asyncio.to_thread(scene.publisher.publish, checkpoint, scene.membership)
            await scene.publish(b"%d" % number, partition=1)
        assert await scene.seen() == [b"0", b"1", b"2"]


async def test_a_producer_that_is_fenced_again_and_again_must_stop(
    broker: str, scene: Scene, epochs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a rival, or by Kafka if every checkpoint takes too long; now and then is no reason."""
    rival = Publisher(
        broker, app_id=scene.app, transactional_id=scene.app, transaction_timeout_ms=20_000
    )
    produce = TransactionalProducer.produce

    async def fence_first(self: TransactionalProducer, batches: Any) -> Any:
        await asyncio.to_thread(rival.open)
        return await produce(self, batches)

    async def fenced(error: type[Exception]) -> str:
        with monkeypatch.context() as patch, pytest.raises(error) as caught:
            patch.setattr(TransactionalProducer, "produce", fence_first)
            await scene.publish(b"fenced")
        return str(caught.value)

    async with member(broker, scene):
        for number in range(2):
            for _ in range(5):
                await fenced(AbortedError)
            await scene.publish(b"%d" % number)
        for _ in range(5):
            await fenced(AbortedError)
        told = await fenced(FencedError)
        assert "HEADRACE_WORKER_ID" in told and "HEADRACE_TRANSACTION_TIMEOUT_MS" in told
        assert await scene.seen() == [b"0", b"1"]
    await asyncio.to_thread(rival.close)


async def test_a_worker_that_is_no_member_is_told_so(
    broker: str, scene: Scene, epochs: bool
) -> None:
    with pytest.raises(ExpelledError):
        await scene.publish(b"lost")
    scene.membership = Membership(scene.app, 7, "nobody", None)
    with pytest.raises(ExpelledError):
        await scene.publish(b"lost")
    assert await scene.seen() == []


def test_doubt_outranks_a_refusal_and_a_bug_outranks_both() -> None:
    doubt = TransactionError("a", None, "no answer")
    refusal = TransactionError("b", Code.ILLEGAL_GENERATION, "expelled")
    bug = ValueError("bug")
    assert worst([refusal, doubt]) is doubt
    assert worst([refusal, doubt, bug]) is bug
    assert worst([refusal]) is refusal


@asynccontextmanager
async def another(broker: str, scene: Scene) -> AsyncIterator[Publisher]:
    """A publisher of the same application, under another transactional id."""
    made = Publisher(
        broker,
        app_id=scene.app,
        transactional_id=f"{scene.app}-other",
        transaction_timeout_ms=20_000,
    )
    try:
        yield made
    finally:
        await asyncio.to_thread(made.close)


async def test_what_somebody_else_has_committed_is_noticed(
    broker: str, scene: Scene, epochs: bool
) -> None:
    here, check = [(scene.source, 0)], scene.publisher.check_unchanged
    async with another(broker, scene) as other, member(broker, scene):
        await asyncio.to_thread(scene.publisher.committed, here)
        await asyncio.to_thread(check, here, scene.membership)
        await scene.publish(b"mine")
        await asyncio.to_thread(check, here, scene.membership)
        again = Checkpoint({here[0]: 1})  # of the same offset: only its name tells
        await asyncio.to_thread(other.publish, again, scene.membership)
        with pytest.raises(ChangedHandsError):
            await asyncio.to_thread(check, here, scene.membership)
        former = replace(scene.membership, generation=scene.membership.generation - 1)
        nobody = replace(scene.membership, member="nobody")
        for expelled in (former, nobody):  # it is others' by right
            with pytest.raises(ExpelledError):
                await asyncio.to_thread(check, here, expelled)
        with pytest.raises(ChangedHandsError):
            await asyncio.to_thread(check, here, scene.membership)


async def test_what_somebody_else_has_committed_is_noticed_after_a_doubtful_commit_too(
    broker: str, scene: Scene, epochs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [(scene.source, 0)]
    async with another(broker, scene) as other, member(broker, scene):
        await scene.publish(b"mine")
        await asyncio.to_thread(other.publish, Checkpoint({here[0]: 7}), scene.membership)
        failing(monkeypatch, "commit", None, after=False)
        with pytest.raises(AbortedError):
            await scene.publish(b"lost")
        with pytest.raises(ChangedHandsError):
            await asyncio.to_thread(scene.publisher.check_unchanged, here, scene.membership)

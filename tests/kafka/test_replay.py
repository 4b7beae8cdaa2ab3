"""Replays on a real broker: each dead letter once, whatever is asked for, however often, and whatever happens."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import IsolationLevel, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from app.engine import names
from app.engine.processing.replay import DeadLetter
from app.kafka.replays.replay import Replay, ReplayError
from app.kafka.topics import TopicNeed, ensure_topics
from app.kafka.transactions.error import TransactionError
from app.kafka.transactions.producer import TransactionalProducer
from tests.kafka.replaying import BEGIN_ALL, replay
from tests.kafka.running_job import Job
from tests.kafka.sales import POISON
from tests.kafka.workers import ROOT, Cluster
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

PARTITIONS = 3
LETTERS = 2500


class Letters:
    """An application of which there is nothing but dead letters; they came from one topic."""

    def __init__(self, broker: str, app_id: str, seed: int) -> None:
        self.broker, self.app_id = broker, app_id
        self.source = f"{app_id}-source"
        self._topic = names.dead_letter_topic(app_id)
        self._random = random.Random(seed)
        self._cluster = Cluster(broker, app_id)
        self._make(self.source, self._topic)

    def _make(self, *topics: str) -> None:
        needs = [TopicNeed(topic) for topic in topics]
        ensure_topics(self.broker, needs, partitions=PARTITIONS, replication=1)

    def anew(self) -> None:
        """Delete the topic of the dead letters, and make it again."""
        admin = AdminClient({"bootstrap.servers": self.broker})
        admin.delete_topics([self._topic])[self._topic].result(30)
        self._make(self._topic)

    def write(self, first: int, end: int) -> None:
        """Dead letters with these numbers as their values; some of aborted transactions among them."""
        options = {"bootstrap.servers": self.broker, "transactional.id": f"{self.app_id}-writer"}
        producer = Producer(options)
        producer.init_transactions()
        while first < end:
            producer.begin_transaction()
            some = range(first, min(end, first + self._random.randrange(1, 400)))
            commit = self._random.random() < 0.7
            for number in some:
                self._one(producer, number)
            if commit:
                producer.commit_transaction()
                first = some.stop
            else:
                assert producer.flush(60) == 0
                producer.abort_transaction()
        self._wait_for_markers()

    def _wait_for_markers(self) -> None:
        """A broker answers a commit before it has written the markers, and until then nobody sees what it holds."""
        admin = AdminClient({"bootstrap.servers": self.broker})
        asked = {
            TopicPartition(self._topic, number): OffsetSpec.latest() for number in range(PARTITIONS)
        }

        def ends(level: IsolationLevel) -> list[int]:
            answers = admin.list_offsets(asked, isolation_level=level)
            return [answers[here].result(30).offset for here in asked]

        while ends(IsolationLevel.READ_COMMITTED) != ends(IsolationLevel.READ_UNCOMMITTED):
            time.sleep(0.02)

    def _one(self, producer: Producer, number: int) -> None:
        facts = {
            "stage": "decode",
            "reason": "",
            "topic": self.source,
            "partition": number % PARTITIONS,
            "offset": number,
            "attempts": 1,
        }
        headers = [(f"headrace_{name}", str(value).encode()) for name, value in facts.items()]
        key, value = f"key-{number % 7}".encode(), str(number).encode()
        producer.produce(self._topic, value, key, headers=headers, timestamp=1_700_000_000_000)

    def replay(self, wanted: Callable[[int], bool] = lambda number: True) -> Replay:
        """A replay of those whose number is wanted."""

        def takes(letter: DeadLetter) -> bool:
            return wanted(int(letter.value or b""))

        options = {"transaction_timeout_ms": 10_000, "topic_replication": 1}
        return Replay(self.broker, self.app_id, takes, **options)

    def run(self, wanted: Callable[[int], bool] = lambda number: True) -> int:
        """Replay; gives how many."""
        work = self.replay(wanted)
        work.run(lambda count: None)
        return work.replayed

    def left(self) -> set[int]:
        """The numbers of those that have not been replayed."""
        return {int(letter.value or b"") for letter in self.replay().left()}

    def found(self) -> list[Message]:
        """What stands in the source topic now."""
        return self._cluster.read(self.source)

    def check(self, *expected: range) -> None:
        """These are in the source topic, each of them once."""
        found = Counter(int(message.value() or b"") for message in self.found())
        assert found == Counter(number for item in expected for number in item)


@pytest.fixture
def letters(broker: str, topic_name: Callable[..., str]) -> Letters:
    return Letters(broker, topic_name("replayed"), new_seed())


def test_once_each_in_any_order_of_asking(letters: Letters) -> None:
    letters.write(0, LETTERS)
    for remainder in (1, 1, 0, 2):
        expected = 0 if remainder in {n % 3 for n in map(_number, letters.found())} else None
        count = letters.run(lambda number, wanted=remainder: number % 3 == wanted)
        assert count == (len(range(remainder, LETTERS, 3)) if expected is None else 0)
    letters.check(range(LETTERS))
    assert letters.left() == set()
    letters.write(LETTERS, LETTERS + 10)
    assert letters.left() == set(range(LETTERS, LETTERS + 10))
    assert letters.run() == 10
    letters.check(range(LETTERS + 10))
    for message in letters.found():
        assert message.partition() == _number(message) % PARTITIONS
        assert message.timestamp()[1] == 1_700_000_000_000
        assert message.headers() == [
            ("headrace_replay", letters.app_id.encode()),
            ("headrace_origin_topic", letters.source.encode()),
            ("headrace_origin_partition", str(_number(message) % PARTITIONS).encode()),
            ("headrace_origin_offset", message.value()),
        ]


class _Died(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", ["begin", "produce", "before commit", "commit"])
def test_it_dies_and_is_started_again(
    letters: Letters, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    letters.write(0, LETTERS)
    method = step.removeprefix("before ")
    original, calls = getattr(TransactionalProducer, method), []

    def dies(self: TransactionalProducer, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2 and step.startswith("before"):
            raise _Died
        answer = original(self, *arguments)
        return _then_die(answer) if len(calls) == 2 else answer

    with monkeypatch.context() as patch:
        patch.setattr(TransactionalProducer, method, dies)
        with pytest.raises(_Died):
            letters.run()
    letters.run()
    letters.check(range(LETTERS))


def _then_die(answer: object) -> object:
    if answer is None:
        raise _Died

    async def die() -> None:
        await answer  # type: ignore[misc]
        raise _Died

    return die()


@pytest.mark.parametrize("committed", [True, False])
def test_an_answer_that_is_lost(
    letters: Letters, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The receipts tell what became of the transaction."""
    letters.write(0, LETTERS)
    commit, calls = TransactionalProducer.commit, []

    async def loses_its_answer(self: TransactionalProducer) -> None:
        calls.append(1)
        if committed or len(calls) != 2:
            await commit(self)
        if len(calls) == 2:
            raise TransactionError("EndTxn", None, "no answer")

    monkeypatch.setattr(TransactionalProducer, "commit", loses_its_answer)
    assert letters.run() == LETTERS
    letters.check(range(LETTERS))


def test_two_at_a_time(letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    """The later one goes on alone; together they have replayed each once."""
    letters.write(0, LETTERS)
    produce, calls = TransactionalProducer.produce, []

    async def overtaken(self: TransactionalProducer, batches: object) -> object:
        ends = await produce(self, batches)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 2:
            monkeypatch.undo()
            command = [*BEGIN_ALL, letters.broker, letters.app_id]
            subprocess.run(command, cwd=ROOT, check=True, timeout=120)  # noqa: ASYNC221
        return ends

    monkeypatch.setattr(TransactionalProducer, "produce", overtaken)
    with pytest.raises(ReplayError, match="another replay has begun"):
        letters.run()
    letters.check(range(LETTERS))


def test_dead_letters_of_a_topic_that_was_made_anew(letters: Letters) -> None:
    """They have the offsets of those that are gone, and not their receipts."""
    letters.write(0, 50)
    assert letters.run() == 50
    letters.anew()
    letters.write(50, 100)
    assert letters.run() == 50
    letters.check(range(100))


def test_the_command(broker: str, tmp_path: Path) -> None:
    """What is not mended fails again, and can be replayed again; nothing of it counts."""
    job = Job(broker, tmp_path)
    with job.worker() as item:
        sales = job.first_sales(item, seed=4)
        sales.write(300)
        sales.share_without_country = 1.0
        sales.write(40)
        sales.share_without_country = 0.0
        sales.write(5, amount=POISON)
        sales.write(300)
        sales.flush()
        job.cluster.wait_for_lag_zero(job.sources, item)
        before = _passed(job)
        said = replay(job, "--reason", "country", "--topic", job.sources[0])
        assert "40 to replay" in said
        assert "40 replayed" in said
        assert "5 others are not selected" in said
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert _passed(job) == before
        said = replay(job, "--dry-run")
        assert "45 to replay" in said
        assert "pass_on" in said
        assert "missing_field" in said
        assert item.stop() == 0
    letters = job.cluster.read(names.dead_letter_topic(job.app_id))
    assert len(letters) == 85


def _passed(job: Job) -> Counter[object]:
    return Counter(row["sequence"] for row in job.cluster.read_json(job.topic("passed")))


def _number(message: Message) -> int:
    return int(message.value() or b"")

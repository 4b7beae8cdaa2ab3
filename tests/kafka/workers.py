"""Real workers as child processes, and what the tests read of Kafka."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """One `faust worker` of an application module, with its own environment and log file."""

    def __init__(self, module: str, environment: Mapping[str, str], log: Path) -> None:
        self.prefix: list[str] = []  # of the command
        self._command = [sys.executable, "-m", "faust", "-A", module, "worker", "-l", "info"]
        self.environment = {**os.environ, **environment}
        self.log_path = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *self._command],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL, without any chance to tidy up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM; gives the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; returns at once."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; gives the exit code."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def log_tail(self, characters: int = 6000) -> str:
        """The end of what it has logged."""
        return self.log_path.read_text(errors="replace")[-characters:]


@contextmanager
def worker(module: str, environment: Mapping[str, str], log: Path) -> Iterator[Worker]:
    """A started worker that is gone at the end, whatever happens."""
    item = Worker(module, environment, log)
    item.start()
    try:
        yield item
    finally:
        if item.running:
            item.kill()


class Cluster:
    """Reads offsets and records, as a consumer that sees committed transactions only."""

    def __init__(self, bootstrap_servers: str, group: str) -> None:
        self._options = {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
        }
        self._former: list[Consumer] = []
        self._connect()

    def _connect(self) -> None:
        self._consumer = Consumer(self._options)
        self._any_reader = Consumer({**self._options, "isolation.level": "read_uncommitted"})

    def renew(self) -> None:
        """Ask by other clients from now on: librdkafka's have been seen to hang for good after a broker's fault.

        The former ones are kept, since it may take long to close them.
        """
        self._former += [self._consumer, self._any_reader]
        self._connect()

    def partitions(self, topic: str) -> list[TopicPartition]:
        """The topic's partitions; empty when there is no such topic."""
        found = self._consumer.list_topics(timeout=30).topics.get(topic)
        return (
            []
            if found is None
            else [TopicPartition(topic, number) for number in sorted(found.partitions)]
        )

    def committed(self, topic: str) -> dict[int, int]:
        """The group's stable committed offsets."""
        return self.committed_of(self.partitions(topic))

    def committed_of(
        self, partitions: list[TopicPartition], *, stable: bool = True
    ) -> dict[int, int]:
        """The same of partitions of one topic that are known already.

        stable: wait for all of them until no open transaction can change any.
        """
        reader = self._consumer if stable else self._any_reader
        answers = reader.committed(partitions, 30)
        return {answer.partition: max(answer.offset, 0) for answer in answers}

    def starts(self, topic: str) -> dict[int, int]:
        """The first offset of each partition that is still there."""
        return {
            tp.partition: self._any_reader.get_watermark_offsets(tp, timeout=30)[0]
            for tp in self.partitions(topic)
        }

    def ends(self, topic: str) -> dict[int, int]:
        """The next offset of each partition.

        Not how far it can be read now: a broker answers a commit before it has written the markers.
        """
        return {
            tp.partition: self._any_reader.get_watermark_offsets(tp, timeout=30)[1]
            for tp in self.partitions(topic)
        }

    def lag(self, topics: Iterable[str]) -> int:
        """How many offsets the group has not committed yet."""
        total = 0
        for topic in topics:
            committed = self.committed(topic)
            total += sum(
                end - committed.get(partition, 0) for partition, end in self.ends(topic).items()
            )
        return total

    def wait_for_lag_zero(self, topics: list[str], worker: Worker, timeout_s: float = 120) -> None:
        """Poll until the group has read everything; fails with the worker's log when it does not."""
        deadline = time.monotonic() + timeout_s
        lag = -1
        while time.monotonic() < deadline:
            assert worker.running, f"the worker has ended:\n{worker.log_tail()}"
            try:
                lag = self.lag(topics)
            except KafkaException:
                lag = -1
            if lag == 0:
                return
            time.sleep(0.1)
        raise AssertionError(f"lag is still {lag} after {timeout_s} s:\n{worker.log_tail()}")

    def read(self, topic: str) -> list[Message]:
        """All committed records of a topic, once every transaction has its marker."""
        consumer = Consumer({**self._options, "group.id": "read", "auto.offset.reset": "earliest"})
        starts = [TopicPartition(tp.topic, tp.partition, 0) for tp in self.partitions(topic)]
        consumer.assign(starts)
        ends = self.ends(topic)
        messages: list[Message] = []
        deadline = time.monotonic() + 240
        while ends:
            assert time.monotonic() < deadline, f"a transaction on {topic} stays open"
            for message in consumer.consume(10_000, 0.1):
                if message.error() is None:
                    messages.append(message)
                elif message.offset() >= ends.get(message.partition(), 0):
                    ends.pop(message.partition(), None)
        consumer.close()
        return messages

    def read_json(self, topic: str) -> list[dict[str, object]]:
        """The values of all committed records of a topic."""
        return [orjson.loads(message.value()) for message in self.read(topic)]

"""Ordinary Faust agents, topics and tables work beside the columnar ones, in the same worker."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.kafka.running_job import Job

pytestmark = pytest.mark.kafka


def test_ordinary_agent_and_table(broker: str, tmp_path: Path) -> None:
    job = Job(broker, tmp_path)
    with job.worker("tests.kafka.ordinary_job") as item:
        sales = job.first_sales(item, seed=4)
        producer = Producer({"bootstrap.servers": broker})
        for word in ("hello", "world", "hello"):
            producer.produce(job.topic("words"), word)
        assert producer.flush(30) == 0
        sales.write(1000)
        job.finish(item, sales)
        deadline = time.monotonic() + 60
        answers: list[bytes] = []
        while len(answers) < 3 and time.monotonic() < deadline:
            answers = [message.value() for message in job.cluster.read(job.topic("shouts"))]
        assert answers == [b"HELLO 1", b"WORLD 1", b"HELLO 2"], item.log_tail()

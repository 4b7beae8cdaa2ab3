"""Events with texts as long as they may be: rows, derived events and dead letters have room for them."""

from __future__ import annotations

import random
import time
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from app.engine import names
from tests.kafka.running_job import Job
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka
BYTES = 255 << 10
"""Of a text; an event may have 256 kB."""


def test_long_texts(broker: str, tmp_path: Path) -> None:
    """Three of them make a row that is larger than a segment; an agent that emits two in one event fails on it."""
    chance = random.Random(new_seed())
    job = Job(broker, tmp_path)
    job.sources = [job.topic("notes")]
    with job.worker("tests.kafka.large_rows_job") as item:
        deadline = time.monotonic() + 60
        while not job.cluster.partitions(job.sources[0]):
            assert item.running and time.monotonic() < deadline, item.log_tail()
            time.sleep(0.05)
        producer = Producer({"bootstrap.servers": broker, "compression.type": "lz4"})
        texts = ["short", *(chance.randbytes(BYTES // 2).hex() for _ in range(3))]
        for at, text in enumerate([*texts, "next"]):
            note = {"user": "a", "text": text, "at": at if text != "next" else 5000}
            producer.produce(job.sources[0], orjson.dumps(note), "a", partition=0)
        assert producer.flush(30) == 0
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert item.stop(60) == 0, item.log_tail()
    (closed,) = job.cluster.read_json(job.topic("totals"))
    assert (closed["notes"], closed["first"]) == (4, min(texts))
    assert (closed["last"], closed["newest"]) == (max(texts), texts[-1])
    doubled = job.cluster.read_json(job.topic("doubled"))
    assert [event["text"] for event in doubled] == ["shortshort", "nextnext"]
    letters = job.cluster.read(names.dead_letter_topic(job.app_id))
    reasons = [dict(letter.headers())["headrace_reason"] for letter in letters]
    assert len(reasons) == 3
    assert all(b"at most 262144 can be sent" in reason for reason in reasons)

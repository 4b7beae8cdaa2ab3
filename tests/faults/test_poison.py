"""A corpus of events that cannot be read, again and again among good ones: the worker's memory does not grow."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from app.engine import names
from tests.faults.group import load, running_group
from tests.kafka.test_dead_letters import CORPUS
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

GROWTH_MB_MAX = 64
ROUNDS_PER_S = 10
"""Of the whole corpus, whose longest event has 300 kB."""
ROUNDS_TO_WARM_UP = 50
TRIMMED_S_MAX = 20
"""A worker gives back what is free in its heaps every few seconds, and later if it is busy (app/heap.py)."""
SMALL_BUFFERS = {
    "HEADRACE_ROCKSDB_WRITE_BUFFER_MB": "1",
    "HEADRACE_ROCKSDB_BLOCK_CACHE_MB": "1",
    "HEADRACE_FETCH_BUFFER_MB": "8",
}
"""By default RocksDB may hold 64 MB, and does after minutes of any load, and a worker that is behind 48 MB fetched."""


def test_memory_under_poison(broker: str, tmp_path: Path, full_faults: bool) -> None:
    rounds = 3000 if full_faults else 100
    with running_group(broker, tmp_path, 1, **SMALL_BUFFERS) as group:
        (item,) = group.workers
        with load(group, seed := new_seed()) as sales:
            poison = _poison(broker, group.sources[0], seed)
            for _ in range(ROUNDS_TO_WARM_UP):
                next(poison)
            group.wait_for_all()
            before = _resident_mb(item)
            course = []
            for number in range(rounds):
                next(poison)
                if number % ROUNDS_PER_S == 0:
                    course.append(_resident_mb(item) - before)
            group.wait_for_all()
        sales.flush()
        group.cluster.wait_for_lag_zero(group.sources, group, 180)
        course.append(_resident_mb(item) - before)
        print(f"resident memory before {before} MB, then by so much more: {course}")  # noqa: T201
        assert all(growth < GROWTH_MB_MAX for growth in _lasting(course))
        group.wait(
            lambda: _resident_mb(item) - before < GROWTH_MB_MAX,
            TRIMMED_S_MAX,
            f"resident memory has grown, in MB: {course}; it did not shrink",
        )
        log = group.finish_all(sales, dead=True)
        assert log.dead == len(CORPUS) * (rounds + ROUNDS_TO_WARM_UP)
        assert not log.late, "a dead letter has moved time on"
        letters = group.cluster.read(names.dead_letter_topic(group.app_id))
        counts = Counter(dict(letter.headers())["corpus"].decode() for letter in letters)
        assert counts == dict.fromkeys(CORPUS, rounds + ROUNDS_TO_WARM_UP)


def _poison(broker: str, topic: str, seed: int) -> Iterator[None]:
    """Each step writes the whole corpus once, shuffled, and waits until the broker has it."""
    chance = random.Random(seed)
    producer = Producer({"bootstrap.servers": broker, "enable.idempotence": True, "linger.ms": 5})
    items = list(CORPUS.items())
    due = time.monotonic()
    while True:
        chance.shuffle(items)
        due += 1 / ROUNDS_PER_S
        time.sleep(max(0, due - time.monotonic()))  # a steady load
        for name, (value, headers, _) in items:
            marked = [*headers, ("corpus", name.encode())]
            producer.produce(topic, value, f"{name}-{chance.randrange(100)}", headers=marked)
        assert producer.flush(60) == 0
        yield


def _lasting(course: list[int]) -> list[int]:
    """What was not given back in time, at each moment of the load."""
    return [min(course[at : at + TRIMMED_S_MAX]) for at in range(len(course) - TRIMMED_S_MAX + 1)]


def _resident_mb(item: Worker) -> int:
    """The memory that a worker holds."""
    assert item.process is not None
    status = Path(f"/proc/{item.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) // 1024

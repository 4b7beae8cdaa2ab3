"""Kafka's own compaction keeps changelogs small for as long as a worker runs.

Time runs sixty times as fast: every time in the changelogs' settings is a sixtieth, and so is the pause of the
broker's cleaner, so that a minute stands for an hour.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from app.engine import names
from app.kafka.topics import CHANGELOG_CONFIG
from tests.kafka.workers import Cluster, Worker, worker
from tests.own_broker import own_broker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

FASTER = 60
CLEANER_BACKOFF_MS = 15_000
"""Kafka's default."""
PARTITIONS = 2
TABLES = ("lifetime", "recent")
USERS = 30_000
EVENTS_PER_SECOND = 4_000
CHECKPOINT_MS = 50
SECONDS = 240
SAMPLE_S = 3.0
SETTLE_S = 75
"""Until the first tombstones are old enough to go: an hour and a quarter."""
RATIO_MAX = 3.0


@pytest.mark.only_full
def test_changelogs_stay_within_three_times_the_state(tmp_path: Path) -> None:
    """A table without windows that is updated, and windows that come and go, for four hours of its cleaner."""
    random.seed(new_seed())
    app_id = f"lasting-{uuid.uuid4().hex[:8]}"
    with own_broker(tmp_path) as broker:
        servers = broker.bootstrap_servers
        _hurry(servers, app_id)
        environment = {
            "HEADRACE_BROKER": servers,
            "HEADRACE_APP_ID": app_id,
            "HEADRACE_DATA_DIR": str(tmp_path / "data"),
            "HEADRACE_TOPIC_PARTITIONS": str(PARTITIONS),
            "HEADRACE_CHECKPOINT_INTERVAL_MS": str(CHECKPOINT_MS),
            "HEADRACE_WEB_ENABLED": "false",
        }
        with (
            worker("tests.faults.lasting_job", environment, tmp_path / "worker.log") as job,
            _visits(servers, f"{app_id}-visits"),
        ):
            settled = list(_samples(servers, app_id, tmp_path / "broker" / "data", job))
    merged = min(sample.states["lifetime"] for sample in settled)
    largest = max(sample.sizes["lifetime"] for sample in settled)
    print(f"lifetime: up to {largest / merged:.2f} times what all of it merged takes")  # noqa: T201
    assert largest <= RATIO_MAX * merged
    assert max(map(_of_windows, settled, settled[1:])) <= RATIO_MAX


@dataclass(frozen=True)
class _Sample:
    """Bytes of each table: of its changelog on disk, and of the records in it that nothing has replaced."""

    sizes: dict[str, int]
    states: dict[str, int]


def _of_windows(before: _Sample, now: _Sample) -> float:
    """Size against state, the larger one of two: windows may just have gone with most of it."""
    states = (sample.states["recent"] for sample in (before, now))
    return now.sizes["recent"] / max(states)


def _hurry(servers: str, app_id: str) -> None:
    """Make the changelogs before the worker does, and have the broker's cleaner look sooner."""
    admin = AdminClient({"bootstrap.servers": servers})
    config = {
        name: str(int(value) // FASTER) if name.endswith(".ms") else value
        for name, value in CHANGELOG_CONFIG.items()
    }
    topics = [
        NewTopic(names.changelog_topic(app_id, table), PARTITIONS, 1, config=config)
        for table in TABLES
    ]
    for made in admin.create_topics(topics).values():
        made.result()
    pause = ConfigEntry(
        "log.cleaner.backoff.ms",
        str(CLEANER_BACKOFF_MS // FASTER),
        incremental_operation=AlterConfigOpType.SET,
    )
    cluster = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[pause])
    for altered in admin.incremental_alter_configs([cluster]).values():
        altered.result()


@contextmanager
def _visits(servers: str, topic: str) -> Iterator[None]:
    """Events of this very moment, from a thread."""
    over = threading.Event()
    producer = Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random"})

    def send() -> None:
        step_s = 0.05
        due = time.monotonic()
        while not over.is_set():
            for _ in range(int(EVENTS_PER_SECOND * step_s)):
                user = f"user-{random.randrange(USERS)}"
                visit = {
                    "user": user,
                    "seconds": random.randrange(600),
                    "at": time.time_ns() // 1_000_000,
                }
                producer.produce(topic, orjson.dumps(visit), key=user)
            producer.poll(0)
            due += step_s
            over.wait(max(0.0, due - time.monotonic()))
        producer.flush(10)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _size(file: Path) -> int:
    """Bytes of a file, which Kafka may have deleted meanwhile."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _samples(servers: str, app_id: str, data: Path, job: Worker) -> Iterator[_Sample]:
    """From when the first tombstones may go; printed as they come."""
    cluster = Cluster(servers, app_id)
    began: float | None = None
    while began is None or time.monotonic() - began < SECONDS:
        time.sleep(SAMPLE_S)
        assert job.running, job.log_tail()
        sample, said = _Sample({}, {}), []
        for table in TABLES:
            topic = names.changelog_topic(app_id, table)
            live: dict[tuple[int, bytes], int] = {}
            for message in cluster.read(topic):
                here = (message.partition(), message.key())
                live.pop(here, None)
                if message.value() is not None:
                    live[here] = len(message.key()) + len(message.value())
            size = sample.sizes[table] = sum(map(_size, data.glob(f"{topic}-*/*.log")))
            state = sample.states[table] = sum(live.values())
            ends = sum(cluster.ends(topic).values())
            said.append(
                f"{table} {size / 1e3:,.0f} kB for {state / 1e3:,.0f} kB in {len(live)} of {ends} records"
            )
        if began is None and all(sample.states.values()):
            began = time.monotonic()
        at_s = time.monotonic() - began if began else 0.0
        print(f"{at_s:5.0f} s: {'; '.join(said)}", flush=True)  # noqa: T201
        if at_s >= SETTLE_S:
            yield sample

"""Reads derived events read-committed and measures how old they are, one in SAMPLE_EVERY.

It takes whole fetches apart in columns, so that it takes little of the cores that it shares with what
is measured.

python -m benchmarks.latency_consumer TOPIC EVENTS WARM_UP_EVENTS
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.codecs.record_batch import parse
from app.kafka.columnar_topics import columnar
from app.kafka.fetching import transport  # noqa: F401 - puts our classes in the place of aiokafka's
from benchmarks.meter import report

SAMPLE_EVERY = 100
PARTITIONS = 4
FETCH_WAIT_MS = 10
REPORT_INTERVAL_S = 0.5


class Stamp(msgspec.Struct):
    """The part of an event that tells its age: when it was produced, in ms."""

    time: int


class Ages:
    """Counts events; of every SAMPLE_EVERY-th one after the warm-up it notes the age in ms."""

    def __init__(self, warm_up_events: int) -> None:
        self.seen = 0
        self.ages_ms: Counter[int] = Counter()
        self._warm_up_events = warm_up_events
        self._decode = msgspec.json.Decoder(Stamp).decode

    def add(self, count: int, value: Callable[[int], bytes | None], now_ms: int) -> None:
        """Events that were received together, now. value: gives the JSON of each."""
        first = -self.seen % SAMPLE_EVERY
        for index in range(first, count, SAMPLE_EVERY):
            if self.seen + index >= self._warm_up_events:
                self.ages_ms[now_ms - self._decode(value(index) or b"").time] += 1
        self.seen += count


async def consume(servers: str, topic: str, events: int, ages: Ages) -> None:
    """Read until that many events were seen."""
    columnar.add(topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )
    await consumer.start()
    consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
    report(ready=True)
    reported = 0.0
    while ages.seen < events:
        fetched = await consumer.getmany(timeout_ms=500)
        now_ms = time.time_ns() // 1_000_000
        for fetches in fetched.values():
            for fetch in fetches:
                records = parse(fetch, check_crc=True)
                ages.add(len(records), records.value, now_ms)
        if time.monotonic() - reported > REPORT_INTERVAL_S:
            reported = time.monotonic()
            report(done=ages.seen)
    await consumer.stop()


def main() -> None:
    """Read what the command line says, then report the ages."""
    topic, events, warm_up_events = sys.argv[1:]
    ages = Ages(int(warm_up_events))
    asyncio.run(consume(os.environ["HEADRACE_BROKER"], topic, int(events), ages))
    report(seen=ages.seen, ages_ms=sorted(ages.ages_ms.items()))


if __name__ == "__main__":
    main()

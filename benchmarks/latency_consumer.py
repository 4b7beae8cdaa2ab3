"""Reads derived events read-committed and measures how old they are, one in SAMPLE_EVERY.

python -m benchmarks.latency_consumer TOPIC EVENTS WARM_UP_EVENTS
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.meter import report

SAMPLE_EVERY = 100
PARTITIONS = 4
BATCH_EVENTS_MAX = 10_000
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

    def add(self, values: list[bytes], now_ms: int) -> None:
        """Events that were received together, now."""
        first = -self.seen % SAMPLE_EVERY
        for index in range(first, len(values), SAMPLE_EVERY):
            if self.seen + index >= self._warm_up_events:
                self.ages_ms[now_ms - self._decode(values[index]).time] += 1
        self.seen += len(values)


def consume(servers: str, topic: str, events: int, ages: Ages) -> None:
    """Read until that many events were seen."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "headrace-bench-latency",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    report(ready=True)
    reported = 0.0
    while ages.seen < events:
        # the first event wakes us, the others are those that came with it: no wait for a full batch
        first = consumer.poll(0.5)
        if first is not None:
            messages = [first, *consumer.consume(BATCH_EVENTS_MAX, 0)]
            now_ms = time.time_ns() // 1_000_000
            for message in messages:
                if message.error() is not None:
                    raise KafkaException(message.error())
            ages.add([message.value() for message in messages], now_ms)
        if time.monotonic() - reported > REPORT_INTERVAL_S:
            reported = time.monotonic()
            report(done=ages.seen)
    consumer.close()


def main() -> None:
    """Read what the command line says, then report the ages."""
    topic, events, warm_up_events = sys.argv[1:]
    ages = Ages(int(warm_up_events))
    consume(os.environ["HEADRACE_BROKER"], topic, int(events), ages)
    report(seen=ages.seen, ages_ms=sorted(ages.ages_ms.items()))


if __name__ == "__main__":
    main()

"""Produces events at a steady rate, each stamped with the time at which it was handed over.

python -m benchmarks.latency_producer TOPIC RATE SECONDS
"""

from __future__ import annotations

import os
import sys
import time

from confluent_kafka import Producer

from benchmarks.events import Workload, encode
from benchmarks.meter import report

TICK_S = 0.01
POOL_EVENTS = 100_000
LINGER_MS = 5

Template = tuple[bytes, bytes, bytes, int]
"""An event around its time: what is before and after it, the key, the partition."""


def templates(events: int) -> list[Template]:
    """Events whose `time` is left open, so that stamping one costs a concatenation."""
    chunk = next(Workload(events).chunks())
    users, partitions = chunk["user"].to_list(), chunk["partition"].to_list()
    times = [b'"time":%d' % time_ms for time_ms in chunk["time"].to_list()]
    cut = [value.split(stamp) for value, stamp in zip(encode(chunk), times, strict=True)]
    return [
        (before + b'"time":', after, user.encode(), partition)
        for (before, after), user, partition in zip(cut, users, partitions, strict=True)
    ]


def produce(servers: str, topic: str, rate: int, seconds: int) -> None:
    """Send `rate` events a second in ticks of TICK_S; a late tick is stamped with its real time."""
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "compression.type": "lz4",
            "linger.ms": LINGER_MS,
            "batch.size": 1 << 20,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    producer.list_topics(topic, timeout=30)
    pool = templates(min(POOL_EVENTS, max(rate, 1)))
    per_tick, sent = max(1, round(rate * TICK_S)), 0
    tick_s = per_tick / rate
    started = time.perf_counter()
    while sent < rate * seconds:
        wait = started + sent / per_tick * tick_s - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        first = sent % len(pool)
        count = min(per_tick, rate * seconds - sent, len(pool) - first)
        _send(producer, topic, pool[first : first + count])
        sent += count
    elapsed = time.perf_counter() - started
    producer.flush(30)
    report(sent=sent, seconds=elapsed, events_per_second=sent / elapsed)


def _send(producer: Producer, topic: str, events: list[Template]) -> None:
    now_ms = time.time_ns() // 1_000_000
    stamp = b"%d" % now_ms
    for before, after, key, partition in events:
        producer.produce(topic, before + stamp + after, key, partition, timestamp=now_ms)
    producer.poll(0)


def main() -> None:
    """Produce what the command line says."""
    topic, rate, seconds = sys.argv[1:]
    produce(os.environ["HEADRACE_BROKER"], topic, int(rate), int(seconds))


if __name__ == "__main__":
    main()

"""Produces events at a steady rate, each stamped with the time at which it was handed over.

It writes whole record batches, so that it takes little of the cores that it shares with what is measured.
Where nobody asks how old an event is, its batches are made anew only so often, and sent again in between.

python -m benchmarks.latency_producer TOPIC RATE SECONDS [STAMPED_EVERY_S]
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import defaultdict, deque
from typing import Any

import numpy as np
from aiokafka.client import AIOKafkaClient
from aiokafka.structs import TopicPartition

from app.codecs.record_writer import RecordColumns, UnsentBatch, write_batches
from app.codecs.texts import Texts
from app.kafka.transactions.protocol import NO_TAGS, Call, Produce
from benchmarks.events import Workload, encode
from benchmarks.meter import report

TICK_S = 0.02
POOL_EVENTS = 100_000
IN_FLIGHT_MAX = 20
TIMEOUT_MS = 30_000
_ALL_REPLICAS = -1
_DIGITS = 13
_BEFORE = b'"time":'


class Pool:
    """Events whose `time` is stamped in place: no event is encoded while the clock runs."""

    def __init__(self, events: int) -> None:
        chunk = next(Workload(events).chunks())
        values = encode(chunk)
        lengths = np.array([len(value) for value in values], np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)[:-1]])
        stamps = np.array([value.index(_BEFORE) for value in values]) + len(_BEFORE)
        self._buffer = np.frombuffer(b"".join(values), np.uint8).copy()
        self._starts, self._lengths = starts, lengths
        self._stamps = (starts + stamps)[:, None] + np.arange(_DIGITS)
        self._ids, self._users = chunk["id"], chunk["user"]

    def __len__(self) -> int:
        return len(self._starts)

    def stamped(self, topic: str, first: int, count: int, now_ms: int) -> RecordColumns:
        """`count` events from `first` on, of this time."""
        rows = slice(first, first + count)
        self._buffer[self._stamps[rows]] = np.frombuffer(b"%d" % now_ms, np.uint8)
        return RecordColumns(
            topic,
            Texts.of(self._users[rows]),
            Texts.within(self._buffer, self._starts[rows], self._lengths[rows]),
            np.full(count, now_ms),
            Texts.of(self._ids[rows]),
            [],
        )


class BatchProducer:
    """Sends record batches, a bounded number of requests at a time, outside of any transaction."""

    def __init__(self, client: AIOKafkaClient, topic: str) -> None:
        self._client = client
        self._topic = topic
        self._sent: deque[asyncio.Task[None]] = deque()

    async def send(self, batches: list[UnsentBatch]) -> None:
        """Send at most one batch per partition; returns before the broker has answered."""
        by_leader: dict[int, list[Any]] = defaultdict(list)
        for batch in batches:
            here = TopicPartition(batch.topic, batch.partition)
            leader = self._client.cluster.leader_for_partition(here)
            by_leader[leader].append((batch.partition, batch.sealed(), NO_TAGS))
        for leader, partitions in by_leader.items():
            self._sent.append(asyncio.create_task(self._produce(leader, partitions)))
        while len(self._sent) > IN_FLIGHT_MAX:
            await self._sent.popleft()

    async def flush(self) -> None:
        """Wait for all answers."""
        while self._sent:
            await self._sent.popleft()

    async def _produce(self, leader: int, partitions: list[Any]) -> None:
        topics = [(self._topic, partitions, NO_TAGS)]
        answer = await self._client.send(
            leader, Call(Produce, None, _ALL_REPLICAS, TIMEOUT_MS, topics)
        )
        for _, found, _ in answer.topics:
            for partition, code, *_ in found:
                if code:
                    raise RuntimeError(f"{self._topic}[{partition}]: Kafka's error code {code}")


def pool_events(rate: int) -> int:
    """How many different events there are at such a rate."""
    return min(POOL_EVENTS, max(rate, 1))


class Ticks:
    """The batches of each tick, of which there are so many that the pool is sent round and round."""

    def __init__(self, pool: Pool, topic: str, partitions: int, stamped_every_s: float) -> None:
        self._pool = pool
        self._topic = topic
        self._partitions = partitions
        self._stamped_every_ms = 1000 * stamped_every_s
        self._made: dict[tuple[int, int], tuple[int, list[UnsentBatch]]] = {}

    def batches(self, first: int, count: int) -> list[UnsentBatch]:
        """`count` events from `first` on, stamped with this time, or one not long ago."""
        now_ms = time.time_ns() // 1_000_000
        made = self._made.get((first, count))
        if made is None or now_ms - made[0] >= self._stamped_every_ms:
            events = self._pool.stamped(self._topic, first, count, now_ms)
            made = now_ms, list(write_batches(events, self._partitions))
            self._made[first, count] = made
        return made[1]


async def produce(
    servers: str, topic: str, rate: int, seconds: int, stamped_every_s: float = 0
) -> None:
    """Send `rate` events a second in ticks of TICK_S; a late tick is stamped with its real time."""
    client = AIOKafkaClient(bootstrap_servers=servers)
    await client.bootstrap()
    while not (partitions := client.cluster.partitions_for_topic(topic)):
        await client.add_topic(topic)
        await client.force_metadata_update()
    pool = Pool(pool_events(rate))
    ticks = Ticks(pool, topic, len(partitions), stamped_every_s)
    ticks.batches(0, 1)  # kernels
    producer = BatchProducer(client, topic)
    per_tick, sent = max(1, round(rate * TICK_S)), 0
    tick_s = per_tick / rate
    started = time.perf_counter()
    while sent < rate * seconds:
        wait_s = started + sent / per_tick * tick_s - time.perf_counter()
        await asyncio.sleep(max(wait_s, 0))
        first = sent % len(pool)
        count = min(per_tick, rate * seconds - sent, len(pool) - first)
        await producer.send(ticks.batches(first, count))
        sent += count
    elapsed = time.perf_counter() - started
    await producer.flush()
    await client.close()
    report(sent=sent, seconds=elapsed, events_per_second=sent / elapsed)


def main() -> None:
    """Produce what the command line says."""
    topic, rate, seconds, *stamped_every_s = sys.argv[1:]
    servers = os.environ["HEADRACE_BROKER"]
    asyncio.run(produce(servers, topic, int(rate), int(seconds), *map(float, stamped_every_s)))


if __name__ == "__main__":
    main()

"""Writes the main job's events to a topic; as a program, the share of some partitions.

    python -m benchmarks.writer TOPIC EVENTS KEYS 0,1

Two of these processes fill both cores of a small machine: 10 M events take about 25 s.
"""

from __future__ import annotations

import os
import sys
from itertools import chain

import polars as pl
from confluent_kafka import Producer

from benchmarks.events import Workload, encode
from benchmarks.meter import report


def write(servers: str, topic: str, workload: Workload, partitions: list[int]) -> None:
    """Write the events of these partitions and their closing ones; report how many are done."""
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,  # keeps the order if a request must be sent again
            "compression.type": "lz4",
            "linger.ms": 50,
            "batch.size": 1 << 20,
            "batch.num.messages": 100_000,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 256 << 10,
        }
    )
    keys = [user.encode() for user in workload.users]
    for chunk in chain(workload.chunks(), [workload.closing()]):
        mine = chunk.filter(pl.col("partition").is_in(partitions))
        _produce(producer, topic, mine, keys)
        report(done=len(mine))
    left = producer.flush(60)
    if left:
        raise TimeoutError(f"{left} events could not be written to {topic} within 60 s")


def _produce(producer: Producer, topic: str, events: pl.DataFrame, keys: list[bytes]) -> None:
    produce = producer.produce
    columns = (events["user_code"], events["partition"], events["time"])
    for value, code, partition, time_ms in zip(
        encode(events), *(column.to_list() for column in columns), strict=True
    ):
        while True:
            try:
                produce(topic, value, keys[code], partition, timestamp=time_ms)
                break
            except BufferError:
                producer.poll(0.1)
    producer.poll(0)


def main() -> None:
    """Write what the command line says."""
    topic, events, keys, partitions = sys.argv[1:]
    workload = Workload(int(events), int(keys))
    write(os.environ["HEADRACE_BROKER"], topic, workload, [int(p) for p in partitions.split(",")])


if __name__ == "__main__":
    main()

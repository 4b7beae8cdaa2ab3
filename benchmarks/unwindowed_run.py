"""Measures a table without windows that is larger than memory should be, and checks its changelog."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import polars as pl
from confluent_kafka import Consumer, TopicPartition

from app.engine import names
from app.engine.state import segment
from app.engine.state.stacks import Stacks
from app.engine.state.table_partition import META_KEY, Meta
from benchmarks.check import differences
from benchmarks.events import Workload
from benchmarks.main_job_run import measured
from benchmarks.scrape import free_port, scrape
from benchmarks.workbench import Workbench

WORKER = ("-m", "faust", "--quiet", "-A", "benchmarks.unwindowed", "worker", "-l", "warn")
PARTS = 5


def run_unwindowed(bench: Workbench) -> dict[str, Any]:
    """Speed, memory, the rate of the last fifth against the first, and correctness.

    The check replays the changelog: what a restart would find is the one-shot answer.
    """
    bench.compile_kernels()
    scale = bench.scale
    workload = Workload(scale.unwindowed_events, scale.unwindowed_keys)
    topic = bench.events_topic(workload)
    port = free_port()
    settings = {"BENCH_TOPIC": topic, "HEADRACE_WEB_PORT": str(port)}
    with bench.child("unwindowed", WORKER, **settings) as worker:
        group = worker.environment["HEADRACE_APP_ID"]
        facts = {**measured(bench, worker, topic, group, "unwindowed"), **scrape(port)}
    found = replayed(bench.servers, group, workload.partitions)
    faults = differences(answer(workload), found)
    return {
        **facts,
        "rows": found.height,
        "last_fifth_to_first": _last_to_first(facts["series"]),
        "correct": not faults,
        "differences": faults,
    }


def _last_to_first(series: list[tuple[float, int, float]]) -> float:
    """The rate of the last fifth of the events, as a share of the first fifth's."""
    total = series[-1][1]
    times = [
        next(time_s for time_s, done, _ in series if done >= total * part // PARTS)
        for part in range(PARTS + 1)
    ]
    return (times[1] - times[0]) / max(times[-1] - times[-2], 1e-9)


def answer(workload: Workload) -> pl.DataFrame:
    """The one-shot answer per user."""
    return totals_per_user(workload, [*workload.chunks(), workload.closing()])


def totals_per_user(workload: Workload, chunks: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The same of these events."""
    needed = pl.concat([chunk.select("user_code", "amount") for chunk in chunks])
    totals = needed.group_by("user_code").agg(
        events=pl.len().cast(pl.Int64),
        amount=pl.col("amount").sum(),
        largest=pl.col("amount").max(),
    )
    users = workload.users.gather(totals["user_code"])
    return totals.select(users, "events", "amount", "largest", window_start=pl.lit(0, pl.Int64))


def replayed(servers: str, group: str, partitions: int) -> pl.DataFrame:
    """The table's rows, from its changelog."""
    from benchmarks.unwindowed.totals import lifetime_per_user as table

    topic = names.changelog_topic(group, table.name)
    return rows_of(lambda number: _live(servers, topic, number), partitions)


def rows_of(live_of: Callable[[int], dict[bytes, bytes]], partitions: int) -> pl.DataFrame:
    """The table's rows, from the keys and values of the state of each partition."""
    from benchmarks.unwindowed.totals import lifetime_per_user as table

    rows = []
    for number in range(partitions):
        live = live_of(number)
        meta = msgspec.json.decode(live.pop(META_KEY, b"{}"), type=Meta)
        heads = {key: segment.head_bytes(key, value) for key, value in live.items()}
        runs = Stacks.of(heads, meta.closed, meta.builds).runs.get(0, ())
        frames = [segment.decode(live[key]) for run in runs for key in run.keys(0)]
        if frames:
            rows.append(table.result(table.merge(frames)))
    found = pl.concat(rows) if rows else pl.DataFrame(schema=table.row_schema)
    return found.with_columns(window_start=pl.lit(0, pl.Int64))


def _live(servers: str, topic: str, partition: int) -> dict[bytes, bytes]:
    """What the changelog holds in the end."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "headrace-bench-check",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    live: dict[bytes, bytes] = {}
    consumer.assign([TopicPartition(topic, partition, 0)])
    try:
        while True:
            for message in consumer.consume(1000, 5):
                if message.error() is not None:
                    return live
                if message.value() is None:
                    live.pop(message.key(), None)
                else:
                    live[message.key()] = message.value()
    finally:
        consumer.close()

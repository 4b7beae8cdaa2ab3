"""The main job in stock Faust: a RocksDB tumbling table, one event at a time.

    python -m faust -L uvloop -A benchmarks.stock_faust worker --without-web -l error

Settings are those that measured best: uvloop, no leader topic (its idle long poll delays the busy
partitions), one table for all three aggregates. Its windows close by wall clock and so cannot emit
the derived events of an event-time window: this peer is spared that work.
"""

from __future__ import annotations

import os
from pathlib import Path

import faust

from benchmarks.events import WINDOW_MS
from benchmarks.meter import Meter

DATA_DIR = Path(os.environ["HEADRACE_DATA_DIR"])

app = faust.App(
    os.environ["HEADRACE_APP_ID"],
    broker=f"kafka://{os.environ['HEADRACE_BROKER'].replace(',', ';')}",
    store="rocksdb://",
    datadir=DATA_DIR,
    topic_partitions=4,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
)


class MainJobEvent(faust.Record, serializer="json"):
    """The main job's event, all ten fields."""

    id: str
    type: str
    source: str
    time: int
    user: str
    amount: float
    country: str
    ip: str
    ok: bool
    qty: int


events = app.topic(os.environ["BENCH_TOPIC"], value_type=MainJobEvent, key_type=bytes, partitions=4)
totals = app.Table(
    "totals", default=lambda: [0, 0.0, 0.0], partitions=4, options={"driver": "rocksdict"}
).tumbling(WINDOW_MS / 1000, expires=60.0)
meter = Meter(int(os.environ["BENCH_EVENTS"]))


@app.agent(events, name="main_job")
async def main_job(stream: faust.StreamT[MainJobEvent]) -> None:
    """Count, sum and maximum per user and window of event time (the records' timestamps)."""
    async for event in stream:
        meter.start()
        count, amount, largest = totals[event.user].value()
        totals[event.user] = [count + 1, amount + event.amount, max(largest, event.amount)]
        meter.count()

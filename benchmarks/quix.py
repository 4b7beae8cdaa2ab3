"""The main job in Quix Streams: its RocksDB state and its tumbling windows, one event at a time.

    python -m benchmarks.quix

Settings are those that measured best: windows close by the time of their partition, as Headrace's
do. The records carry the event time as their timestamp, so that no extractor runs per event; closed
windows go to a topic, as Headrace's derived events do. Events are counted as they come in: the last
one's own work and the last commit are not in the time.
"""

from __future__ import annotations

import os
from typing import Any

from quixstreams import Application
from quixstreams.dataframe.windows import Count, Max, Sum

from benchmarks.events import WINDOW_MS
from benchmarks.meter import Meter

GRACE_MS = 1_000


def main() -> None:
    """Run until the last event has been counted."""
    meter = Meter(int(os.environ["BENCH_EVENTS"]))
    app = Application(
        broker_address=os.environ["HEADRACE_BROKER"],
        consumer_group=os.environ["HEADRACE_APP_ID"],
        auto_offset_reset="earliest",
        state_dir=os.environ["HEADRACE_DATA_DIR"],
        processing_guarantee="at-least-once",
        loglevel="ERROR",
    )
    events = app.topic(os.environ["BENCH_TOPIC"], value_deserializer="json", key_deserializer="str")
    totals = app.topic(f"{os.environ['HEADRACE_APP_ID']}.totals")

    def count(event: dict[str, Any]) -> None:
        meter.start()
        meter.count()

    frame = app.dataframe(events).update(count)
    windows = frame.tumbling_window(WINDOW_MS, grace_ms=GRACE_MS).agg(
        events=Count(), amount=Sum("amount"), largest=Max("amount")
    )
    windows.final(closing_strategy="partition").to_topic(totals)
    app.run()


if __name__ == "__main__":
    main()

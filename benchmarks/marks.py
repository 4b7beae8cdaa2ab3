"""A Faust sensor that tells the runner when a worker is assigned partitions, is ready, and has its first fetch."""

from __future__ import annotations

import time
from typing import Any

import faust

from benchmarks.meter import report


class Marks(faust.Sensor):
    """Reports `ready` and `first_fetch` once each, `assigned` each time, as CLOCK_MONOTONIC seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._reported: set[str] = set()

    async def watch(self, app: Any) -> None:
        """Report when the partitions are assigned and their tables restored."""

        def assigned(_app: Any, assigned: set[Any], **__: Any) -> None:
            report(assigned=time.monotonic(), partitions=len(assigned))

        app.on_partitions_assigned.connect(assigned, weak=False)
        await app.parts.holdings.settled.wait()
        self._once("ready")

    def on_stream_event_in(self, tp: Any, offset: int, stream: Any, event: Any) -> None:
        """A message, for Headrace a whole fetch, has reached its agent."""
        self._once("first_fetch")

    def _once(self, mark: str) -> None:
        if mark not in self._reported:
            self._reported.add(mark)
            report(**{mark: time.monotonic()})

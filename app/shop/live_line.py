"""One line that says how the demo goes: in place on a terminal, now and then anywhere else."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType

from confluent_kafka import KafkaException

from app.shop.outputs import Outputs
from app.shop.progress import Offsets, Progress
from app.shop.scene import Scene

INTERVAL_S = 0.5
"""Between two updates."""
PRINT_INTERVAL_S = 5.0
"""Between two lines where there is no terminal."""
RATE_SPAN_S = 3.0
SILENCE_S_MAX = 60.0
"""Kafka may be away for so long, as when the embedded broker is restarted."""


class LiveLine:
    """Counts by Kafka's offsets and by the committed outputs. update: KafkaException when Kafka is gone."""

    def __init__(self, scene: Scene, progress: Progress, outputs: Outputs) -> None:
        self._scene = scene
        self._progress = progress
        self._outputs = outputs
        self._terminal = sys.stdout.isatty()
        self._history: list[tuple[float, int]] = []
        self._printed_at = time.monotonic()
        self._answered_at = time.monotonic()
        self.events_in = 0
        self.lag = 0

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._terminal:
            self._write("\n")

    def update(self) -> int:
        """Count and show; the lag: events and partial aggregates that are not yet committed."""
        now = time.monotonic()
        try:
            self._count()
            self._answered_at = now
        except KafkaException:
            if now - self._answered_at > SILENCE_S_MAX:
                raise
        self._history = [item for item in self._history if now - item[0] < RATE_SPAN_S]
        self._history.append((now, self.events_in))
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1  # a wrapped line cannot be overwritten
            self._write(f"\r{self._text()[:width]}\x1b[K")
        elif now - self._printed_at >= PRINT_INTERVAL_S:
            self._printed_at = now
            self._write(f"{self._text()}\n")
        return self.lag

    def _count(self) -> None:
        scene = self._scene
        committed = (
            self._progress.committed()
        )  # before the ends, so that the lag is never too small
        ends = self._progress.ends([*scene.sources, *scene.internal])
        self.events_in = sum(ends[here] - start for here, start in scene.sources.items())
        self.lag = _lag(ends, committed, scene.sources)

    def _text(self) -> str:
        (first_at, first), (last_at, last) = self._history[0], self._history[-1]
        rate = (last - first) / (last_at - first_at) if last_at > first_at else 0.0
        outputs = self._outputs
        return (
            f"{self.events_in:,} events in ({rate:,.0f}/s), {outputs.derived.total():,} derived out, "
            f"lag {self.lag:,}, {outputs.late.total():,} late, {outputs.dead:,} dead"
        )

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _lag(ends: Offsets, committed: Offsets, starts: Offsets) -> int:
    """A partition of which nothing is committed yet is read from its start."""
    return sum(max(0, end - committed.get(here, starts.get(here, 0))) for here, end in ends.items())

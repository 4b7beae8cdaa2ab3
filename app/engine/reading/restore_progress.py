"""How far the tables are that are being restored, and how long it will still take."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

_RATE_S = 10.0
"""The rate is that of the last seconds: the beginning of a changelog, which was compacted, is read sooner."""
_SAMPLE_S = 0.5


@dataclass(frozen=True)
class Restoring:
    """A table that is being restored.

    partitions: those that are not there yet. done, total: offsets of all its changelogs. size: bytes read.
    The rate and the time are of all tables of the worker together, none of which is usable before.
    seconds_left: None: not known yet.
    """

    table: str
    partitions: tuple[int, ...]
    done: int
    total: int
    size: int
    bytes_per_second: float
    seconds_left: float | None

    @property
    def percent(self) -> int:
        """How much of the offsets is done; 100 only when all is."""
        return 100 * self.done // max(self.total, 1)


@dataclass(frozen=True)
class _Span:
    """What of one changelog is to be read, and has been."""

    start: int
    end: int
    position: int
    size: int = 0


@dataclass(frozen=True)
class _Sample:
    time_s: float
    done: int
    size: int


class RestoreProgress:
    """Told by a restore, asked by the logs, the metrics and the pages, each in a thread of its own.

    clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._spans: dict[tuple[str, int], _Span] = {}
        self._samples: deque[_Sample] = deque()
        self.steps = 0
        """How often it has been told of something."""

    def begin(self, spans: Mapping[tuple[str, int], tuple[int, int]]) -> None:
        """A restore begins: of each (table, partition), from which changelog offset to which."""
        with self._lock:
            self.steps += 1
            self._spans = {here: _Span(start, end, start) for here, (start, end) in spans.items()}
            self._samples = deque([self._sample()])

    def advance(self, table: str, partition: int, position: int, size: int) -> None:
        """A changelog has been read up to this offset, by `size` bytes."""
        with self._lock:
            self.steps += 1
            span = self._spans[(table, partition)]
            self._spans[(table, partition)] = replace(
                span, position=min(position, span.end), size=span.size + size
            )
            if self._clock() - self._samples[-1].time_s >= _SAMPLE_S:
                self._samples.append(self._sample())
                while self._samples[-1].time_s - self._samples[0].time_s > _RATE_S:
                    self._samples.popleft()

    def end(self) -> None:
        """The restore is over, done or given up."""
        with self._lock:
            self.steps += 1
            self._spans = {}

    def of(self, table: str) -> Restoring | None:
        """How far a table is; None: it is not being restored."""
        return next((item for item in self.tables() if item.table == table), None)

    def tables(self) -> list[Restoring]:
        """The tables that are being restored, by their names."""
        with self._lock:
            if not self._spans:
                return []
            then, now = self._samples[0], self._sample()
            seconds = now.time_s - then.time_s
            rate = (now.done - then.done) / seconds if seconds > 0 else 0.0
            left = sum(span.end - span.position for span in self._spans.values())
            seconds_left = None if left and not rate else left / (rate or 1.0)
            speed = (now.size - then.size) / seconds if seconds > 0 else 0.0
            return [
                self._restoring(table, speed, seconds_left)
                for table in sorted({table for table, _ in self._spans})
            ]

    def _restoring(self, table: str, speed: float, seconds_left: float | None) -> Restoring:
        spans = {number: span for (name, number), span in self._spans.items() if name == table}
        return Restoring(
            table,
            tuple(number for number, span in sorted(spans.items()) if span.position < span.end),
            sum(span.position - span.start for span in spans.values()),
            sum(span.end - span.start for span in spans.values()),
            sum(span.size for span in spans.values()),
            speed,
            seconds_left,
        )

    def _sample(self) -> _Sample:
        spans = self._spans.values()
        done = sum(span.position - span.start for span in spans)
        return _Sample(self._clock(), done, sum(span.size for span in spans))

"""Keeps libraries from flooding the log: the same line at most once in a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

REPEAT_MS_MIN = 10_000
LINES_KEPT_MAX = 1000


@dataclass
class _Line:
    """When (ms) a line was last let through, and how often it was held back since."""

    shown_ms: float
    held_back: int = 0


class RepeatFilter(logging.Filter):
    """Lets a line of these libraries through again after `REPEAT_MS_MIN`, with the count of those
    between as `repeated`. A broker that is down makes aiokafka say so ten times a second.
    """

    def __init__(
        self, libraries: Collection[str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._libraries = frozenset(libraries)
        self._clock = clock
        self._lines: dict[tuple[str, int, str], _Line] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to let the record through."""
        if record.name.partition(".")[0] not in self._libraries:
            return True
        now_ms = self._clock() * 1000
        key = (record.name, record.levelno, record.getMessage())
        line = self._lines.get(key)
        if line is not None and now_ms - line.shown_ms < REPEAT_MS_MIN:
            line.held_back += 1
            return False
        if line is not None and line.held_back:
            record.repeated = line.held_back
        if len(self._lines) >= LINES_KEPT_MAX:
            self._lines.clear()
        self._lines[key] = _Line(now_ms)
        return True

"""No windows: one row per key, for as long as the table exists or the key has events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from app.engine.duration import human
from app.engine.windows.window import Time

_NEVER: Final = 1 << 62
_STEPS = 1000


@dataclass(frozen=True)
class Unwindowed:
    """All of time is one window that never closes.

    ttl_ms: how long a key is kept after its last event, and after which an event is late; None: for good.
    """

    ttl_ms: int | None = None
    size_ms: None = None

    def pane(self, time: pl.Expr) -> pl.Expr:
        """The same for each event time."""
        return time * 0

    def pane_of(self, time_ms: int) -> int:
        """The same for every time."""
        return 0

    def late_at(self, time: Time) -> Time:
        """One time to live later, or never."""
        return time + (_NEVER if self.ttl_ms is None else self.ttl_ms)

    def closes_at(self, pane: int) -> int:
        """Never."""
        return _NEVER

    def forgotten_at(self, pane: int) -> int:
        """Never."""
        return _NEVER

    def closed_before(self, time_ms: int) -> int:
        """The step of a thousandth of the time to live, rounded up; without one, no time closes anything."""
        return 0 if self.ttl_ms is None else -(-time_ms // self._step_ms)

    def gone_to(self, watermark: int) -> int:
        """A key whose last event is not after this time is gone.

        The time to live behind the watermark, which counts in steps: so senders need not tell each millisecond.
        """
        assert self.ttl_ms is not None
        return self.closed_before(watermark) * self._step_ms - self.ttl_ms

    @property
    def _step_ms(self) -> int:
        assert self.ttl_ms is not None
        return max(self.ttl_ms // _STEPS, 1)

    def __str__(self) -> str:
        return "no windows" if self.ttl_ms is None else f"no windows, ttl {human(self.ttl_ms)}"

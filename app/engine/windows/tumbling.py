"""Tumbling windows: fixed size, without gaps or overlap, aligned to the epoch."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from app.engine.duration import human, milliseconds
from app.engine.windows.window import Time


@dataclass(frozen=True)
class Tumbling:
    """Half-open windows [start, start + size) of event time.

    A window closes when the watermark reaches its end plus the grace; later events for it are late.
    A closed window stays readable until the watermark has passed its end by `keep_ms` as well.
    """

    size_ms: int
    grace_ms: int
    keep_ms: int

    def pane(self, time: pl.Expr) -> pl.Expr:
        """The start of the window of each event time (ms)."""
        return time.floordiv(self.size_ms) * self.size_ms

    def pane_of(self, time_ms: int) -> int:
        """The start of the window that holds this time."""
        return time_ms // self.size_ms * self.size_ms

    def late_at(self, time: Time) -> Time:
        """When the window that holds this time closes."""
        return time // self.size_ms * self.size_ms + self.size_ms + self.grace_ms

    def closes_at(self, pane: int) -> int:
        """The watermark at which the window closes."""
        return pane + self.size_ms + self.grace_ms

    def forgotten_at(self, pane: int) -> int:
        """The watermark at which the closed window is dropped from the state."""
        return self.closes_at(pane) + self.keep_ms

    def closed_before(self, time_ms: int) -> int:
        """The start of the window that holds this time, less the grace."""
        return self.pane_of(time_ms - self.grace_ms)

    def __str__(self) -> str:
        return f"tumbling {human(self.size_ms)}, grace {human(self.grace_ms)}"


def tumbling(size: str | int, *, grace: str | int = 0, keep: str | int | None = None) -> Tumbling:
    """Windows of one size, such as tumbling("1m", grace="10s").

    grace: how long after its end (in event time) a window still takes events.
    keep:  how long a closed window stays readable; the default is ten times the size.

    ValueError: a duration that cannot be read, or a size of zero.
    """
    size_ms = milliseconds(size)
    if size_ms < 1:
        raise ValueError("the size of a window must be at least 1ms")
    return Tumbling(
        size_ms, milliseconds(grace), 10 * size_ms if keep is None else milliseconds(keep)
    )

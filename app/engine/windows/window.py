"""What the engine asks of every kind of window."""

from __future__ import annotations

from typing import Protocol, TypeVar

import polars as pl

WINDOW_START, WINDOW_END = "window_start", "window_end"
"""The columns of a row that say its window (ms)."""

Time = TypeVar("Time", int, pl.Expr)
"""One event time (ms), or a column of them."""


class Window(Protocol):
    """A kind of window: which one an event belongs to (its *pane*, the start in ms), and when it closes.

    size_ms: None for a table without windows.
    """

    @property
    def size_ms(self) -> int | None:
        """How long one window is; None: there are no windows."""
        ...

    def pane(self, time: pl.Expr) -> pl.Expr:
        """The start of the window of each event time (ms)."""
        ...

    def pane_of(self, time_ms: int) -> int:
        """The start of the window that holds this time."""
        ...

    def late_at(self, time: Time) -> Time:
        """The stream time from which on an event of this time is late; grows with the time."""
        ...

    def closes_at(self, pane: int) -> int:
        """The watermark at which the window closes."""
        ...

    def forgotten_at(self, pane: int) -> int:
        """The watermark at which the closed window is dropped from the state."""
        ...

    def closed_before(self, time_ms: int) -> int:
        """A number that grows with the windows that a stream time closes: equal ones close the same."""
        ...

    def __str__(self) -> str:
        """Its name for people, such as "tumbling 1m, grace 10s"."""
        ...

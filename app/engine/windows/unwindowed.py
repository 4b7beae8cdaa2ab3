"""No windows: one row per key, for as long as the table exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

_NEVER: Final = 1 << 62


@dataclass(frozen=True)
class Unwindowed:
    """All of time is one window that never closes, so no event is late."""

    size_ms: None = None

    def pane(self, time: pl.Expr) -> pl.Expr:
        """The same for each event time."""
        return time * 0

    def pane_of(self, time_ms: int) -> int:
        """The same for every time."""
        return 0

    def closes_at(self, pane: int) -> int:
        """Never."""
        return _NEVER

    def forgotten_at(self, pane: int) -> int:
        """Never."""
        return _NEVER

    def closed_before(self, time_ms: int) -> int:
        """No time closes anything."""
        return 0

    def __str__(self) -> str:
        return "no windows"

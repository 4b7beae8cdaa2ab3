"""The way of a source partition's events into one table: stream time, lateness, partial aggregates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from app.engine.batch_columns import OFFSET, TIME
from app.engine.language.table import DIFFERENT, Table

_ROWS_MIN = 1000
"""Fewer events tell too little of how much their keys differ, and cost too little."""
_SINGLES_MAX = 16
"""So many batches in a row are not grouped, before it is tried again whether their keys still differ."""


@dataclass(frozen=True)
class Taken:
    """What became of one batch: `partial` (None: nothing counted), the stream time after it, late rows' numbers."""

    partial: pl.DataFrame | None
    stream_time: int
    late: pl.Series | None


class Intake:
    """Takes the batches of one source partition for one table.

    Stream time is the largest event time seen so far in the partition. An event is late when its window
    had closed (end + grace <= stream time), or its time to live was over, before it came: a function of
    the log alone, so that neither the cut into batches nor a restart nor the moment of a checkpoint
    changes what is late.
    """

    def __init__(self, table: Table, stream_time: int | None) -> None:
        self._table = table
        self._window = table.windowing
        self._stream_time = stream_time
        self._singles_left = 0

    def take(self, frame: pl.DataFrame) -> Taken:
        """Reduce a batch to partials. frame: the table's fields and `_time`, at least one row, in log order."""
        before = self._stream_time
        return self._reduce(frame, self._pass(frame), lambda: _seen(frame, before))

    def feed(self, events: pl.DataFrame, rows: pl.DataFrame | None) -> Taken:
        """Reduce what an agent has made of these events, and let stream time go on with them.

        rows: the table's fields, `_time`, and `_offset` of the event that a row comes from. A row is late
        if its window had closed when that event came; a row of no event, when the first of them came.
        """
        before = self._stream_time
        now = self._pass(events)
        if rows is None:
            return Taken(None, now, None)

        def seen() -> pl.Series:
            at = events.select(OFFSET, _seen(events, before).alias("_seen"))
            found = rows.join(at, OFFSET, how="left", maintain_order="left")["_seen"]
            return found if before is None else found.fill_null(before)

        return self._reduce(rows, now, seen)

    def _pass(self, events: pl.DataFrame) -> int:
        """Let stream time go on; gives it."""
        last: int = events[TIME].max()  # type: ignore[assignment]
        self._stream_time = last if self._stream_time is None else max(self._stream_time, last)
        return self._stream_time

    def _reduce(self, frame: pl.DataFrame, now: int, seen: Callable[[], pl.Series]) -> Taken:
        """Partials of what is not late. seen: the stream time of each row; asked for only if it matters."""
        first: int = frame[TIME].min()  # type: ignore[assignment]
        if self._window.late_at(first) > now:
            return Taken(self._partial(frame), now, None)
        late_at = frame.select(self._window.late_at(pl.col(TIME))).to_series()
        late = (late_at <= seen()).fill_null(False)
        if not late.any():
            return Taken(self._partial(frame), now, None)
        kept = frame.filter(~late)
        partial = self._partial(kept) if len(kept) else None
        return Taken(partial, now, late.arg_true())

    def _partial(self, frame: pl.DataFrame) -> pl.DataFrame:
        """One row per window and key, or one per event while nearly all of their keys differ."""
        if self._singles_left and (singles := self._table.singles(frame)) is not None:
            self._singles_left -= 1
            return singles
        partial = self._table.partial(frame)
        if len(frame) >= _ROWS_MIN and len(partial) > DIFFERENT * len(frame):
            self._singles_left = _SINGLES_MAX
        return partial


def _seen(events: pl.DataFrame, before: int | None) -> pl.Series:
    """The stream time when each of the events had come."""
    seen = events[TIME].cum_max()
    return seen if before is None else seen.clip(lower_bound=before)

"""The way of a source partition's events into one table: stream time, lateness, partial aggregates."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from app.engine.table import TIME, Table


@dataclass(frozen=True)
class Taken:
    """What became of one batch: `partial` (None: nothing counted), the stream time after it, late rows' numbers."""

    partial: pl.DataFrame | None
    stream_time: int
    late: pl.Series | None


class Intake:
    """Takes the batches of one source partition for one table.

    Stream time is the largest event time seen so far in the partition. An event is late when its window
    had closed (end + grace <= stream time) before it came: a function of the log alone, so that neither
    the cut into batches nor a restart nor the moment of a checkpoint changes what is late.
    """

    def __init__(self, table: Table, stream_time: int | None) -> None:
        self._table = table
        self._window = table.window
        self._stream_time = stream_time

    def take(self, frame: pl.DataFrame) -> Taken:
        """Reduce a batch to partials. frame: the table's fields and `_time`, at least one row, in log order."""
        first: int = frame[TIME].min()  # type: ignore[assignment]
        last: int = frame[TIME].max()  # type: ignore[assignment]
        before = self._stream_time
        self._stream_time = now = last if before is None else max(before, last)
        if self._window.closes_at(self._window.pane_of(first)) > now:
            return Taken(self._table.partial(frame), now, None)
        seen = pl.col(TIME).cum_max()
        if before is not None:
            seen = pl.max_horizontal(seen, pl.lit(before))
        late = frame.select(
            self._window.pane(pl.col(TIME)) + self._window.closes_at(0) <= seen
        ).to_series()
        if not late.any():
            return Taken(self._table.partial(frame), now, None)
        kept = frame.filter(~late)
        partial = self._table.partial(kept) if len(kept) else None
        return Taken(partial, now, late.arg_true())

    def advance(self, time: int) -> Taken:
        """Let stream time go on to `time` (ms) without an event."""
        before = self._stream_time
        self._stream_time = now = time if before is None else max(before, time)
        return Taken(None, now, None)

"""Keeps the books: exact figures per table, window and key of all events that were sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from app.events.event import Event, event_type
from app.shop.books import Book, Figure, Reaction
from app.shop.mishaps import NEVER

Columns = dict[str, list[Any]]


class Ledger:
    """Reckons the figures of every book, event by event as they are sent.

    partition_counts: of the topic of each source. settled: gets a table's name, a window's start and
    its rows as soon as no later event can change it, so that memory holds open windows only.
    """

    def __init__(
        self,
        books: Iterable[Book],
        reactions: Iterable[Reaction],
        partition_counts: Mapping[type[Event], int],
        settled: Callable[[str, int, Columns], None],
    ) -> None:
        self._pages = [_Pages(book) for book in books]
        self._reactions = list(reactions)
        self._settled = settled
        self._stream_times = {
            cls: np.full(count, NEVER, np.int64) for cls, count in partition_counts.items()
        }
        self.sent: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()
        self.late: Counter[str] = Counter({pages.book.table: 0 for pages in self._pages})
        self.reactions: Counter[str] = Counter()

    def stream_time(self, cls: type[Event], partitions: np.ndarray) -> np.ndarray:
        """The newest event time (ms) so far in the partition of each event, or NEVER."""
        times: np.ndarray = self._stream_times[cls][partitions]
        return times

    def record(
        self,
        cls: type[Event],
        events: pl.DataFrame,
        times: np.ndarray,
        partitions: np.ndarray,
        bad: np.ndarray,
    ) -> None:
        """Take events in the order in which they are sent; bad ones are counted and no more."""
        name = event_type(cls).name
        self.sent[name] += len(events)
        if bad.any():
            self.bad[name] += int(bad.sum())
            events, times, partitions = events.filter(~bad), times[~bad], partitions[~bad]
        seen = self._newest_before(cls, times, partitions)
        for pages in self._pages:
            if pages.book.source is cls:
                self.late[pages.book.table] += pages.add(events, times, seen)
        for reaction in self._reactions:
            if reaction.source is cls:
                met = events if reaction.where is None else events.filter(reaction.where(events))
                self.reactions[event_type(reaction.derived).name] += len(met)

    def settle(self, *, everything: bool = False) -> None:
        """Hand out the windows that no later event can change; `everything`: all of them."""
        for pages in self._pages:
            limit = None if everything else self.closed_to(pages.book)
            for start, rows in pages.take(limit):
                self._settled(pages.book.table, start, rows)

    def closed_to(self, book: Book) -> int:
        """Windows that end by this time (ms) take no more events, from whichever partition."""
        slowest = int(self._stream_times[book.source].min())
        return NEVER if slowest == NEVER else slowest - book.grace_ms

    def _newest_before(
        self, cls: type[Event], times: np.ndarray, partitions: np.ndarray
    ) -> np.ndarray:
        """The newest event time that each event's partition had seen before it."""
        newest = self._stream_times[cls]
        seen = np.empty(len(times), np.int64)
        for partition in range(len(newest)):
            mine = np.flatnonzero(partitions == partition)
            if len(mine):
                running = np.maximum.accumulate(np.append(newest[partition], times[mine]))
                seen[mine] = running[:-1]
                newest[partition] = running[-1]
        return seen


class _Pages:
    """The open windows of one book: arrays of figures, indexed by the number of the key."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._windows: dict[int, dict[str, np.ndarray]] = {}

    def add(self, events: pl.DataFrame, times: np.ndarray, seen: np.ndarray) -> int:
        """Take events that are not late; give the number of those that are."""
        book = self.book
        starts = times // book.size_ms * book.size_ms
        late = starts + book.size_ms + book.grace_ms <= seen
        codes = book.codes(events)
        for start in np.unique(starts[~late]).tolist():
            mine = (starts == start) & ~late
            window = self._windows.setdefault(start, {})
            _add(window, "", Figure("count"), codes, events, mine, book.key_count)
            for name, figure in book.figures.items():
                _add(window, name, figure, codes, events, mine, book.key_count)
        return int(late.sum())

    def take(self, closed_to: int | None) -> Iterable[tuple[int, Columns]]:
        """Remove the windows that end by `closed_to` (None: all); give their start and rows."""
        for start in sorted(self._windows):
            if closed_to is None or start + self.book.size_ms <= closed_to:
                yield start, self._rows(self._windows.pop(start))

    def _rows(self, window: dict[str, np.ndarray]) -> Columns:
        codes = np.flatnonzero(window[""])
        rows: Columns = dict(self.book.key_columns(codes))
        for name, figure in self.book.figures.items():
            values = window[name][codes]
            if figure.kind == "mean":
                values = values / window[""][codes]
            rows[name] = values.tolist()
        return rows


def _add(
    window: dict[str, np.ndarray],
    name: str,
    figure: Figure,
    codes: np.ndarray,
    events: pl.DataFrame,
    mine: np.ndarray,
    key_count: int,
) -> None:
    """Add the chosen events to one figure of a window."""
    if figure.where is not None:
        mine = mine & figure.where(events).to_numpy()
    codes = codes[mine]
    if figure.kind == "count":
        counts = np.bincount(codes, minlength=key_count)
        window[name] = window[name] + counts if name in window else counts
        return
    values = events[figure.field].cast(pl.Float64).to_numpy()[mine]
    if figure.kind in ("total", "mean"):
        sums = np.bincount(codes, weights=values, minlength=key_count)
        window[name] = window[name] + sums if name in window else sums
        return
    extreme, start = (np.maximum, -np.inf) if figure.kind == "largest" else (np.minimum, np.inf)
    if name not in window:
        window[name] = np.full(key_count, start)
    extreme.at(window[name], codes, values)

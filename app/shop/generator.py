"""The load generator: makes slices of traffic, spoils some of it, keeps the books, sends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from app.codecs.murmur2 import partitions
from app.events.event import Event, event_type
from app.shop.books import BOOKS, LATE_AFTER_MS, REACTIONS, READ
from app.shop.ledger import Columns, Ledger
from app.shop.mishaps import Mishaps
from app.shop.totals import Summary
from app.shop.traffic import SOURCES, TIME, Traffic

Send = Callable[[type[Event], list[str], list[str], list[bytes], list[int]], None]


class Generator:
    """Sends the shop's events through `send`; without `settled` it keeps no totals.

    partition_counts: of each topic. Equal seeds and slices give equal events and totals.
    """

    def __init__(
        self,
        seed: int,
        partition_counts: Mapping[str, int],
        send: Send,
        settled: Callable[[str, int, Columns], None] | None,
    ) -> None:
        self._traffic = Traffic(seed)
        self._mishaps = Mishaps(seed, LATE_AFTER_MS)
        self._partition_counts = partition_counts
        self._send = send
        self._ledger = Ledger(
            BOOKS if settled else (),
            REACTIONS,
            {cls: partition_counts[event_type(cls).topic] for cls in SOURCES},
            settled or _forget,
        )

    @property
    def sent(self) -> Counter[str]:
        """Events sent so far, by type."""
        return self._ledger.sent

    def run_slice(self, start_ms: int, end_ms: int, count: int) -> None:
        """Make and send about `count` events with times in [start_ms, end_ms)."""
        frames = self._traffic.slice(start_ms, end_ms, count)
        for cls, events in frames.items():
            if len(events):
                self._run_type(cls, events)
        self._ledger.settle()

    def summary(self) -> Summary:
        """Hand out all windows that are still open; give the totals that belong to no window."""
        closed_to = {book.table: self._ledger.closed_to(book) for book in BOOKS}
        self._ledger.settle(everything=True)
        ledger = self._ledger
        return Summary(
            sent=dict(ledger.sent),
            bad=dict(ledger.bad),
            late=dict(ledger.late),
            reactions=dict(ledger.reactions),
            closed_to=closed_to,
        )

    def _run_type(self, cls: type[Event], events: pl.DataFrame) -> None:
        event = event_type(cls)
        assert event.key is not None
        keys = events[event.key]
        places = partitions(keys, self._partition_counts[event.topic]).to_numpy()
        times = events[TIME].to_numpy()
        times = self._mishaps.times(times, self._ledger.stream_time(cls, places))
        bad = self._mishaps.bad(len(events)) & (cls in READ)
        self._ledger.record(cls, events, times, places, bad)
        lines = events.select(cls.__struct_fields__).write_ndjson().encode().splitlines()
        names = [event.name] * len(lines)
        for row in np.flatnonzero(bad).tolist():
            names[row], lines[row] = self._mishaps.broken(event.name, lines[row])
        self._send(cls, names, keys.to_list(), lines, times.tolist())


def _forget(_table: str, _start: int, _rows: Columns) -> None:
    """Nobody wants the totals."""

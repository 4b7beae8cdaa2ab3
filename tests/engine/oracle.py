"""What a table must give, in plain Python: no Polars, no batches, no checkpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.engine.language.table import Table
from tests.engine.sales import COLUMNS, Row, Sale

Entry = tuple[int, Sale]
"""An event and its time (ms); its place in the list is its offset."""


@dataclass
class Expected:
    """Rows of windows: still open, closed; late events as (partition, offset)."""

    open: list[dict[str, Any]] = field(default_factory=list)
    closed: list[dict[str, Any]] = field(default_factory=list)
    late: list[tuple[int, int]] = field(default_factory=list)
    watermarks: dict[int, int | None] = field(default_factory=dict)


def expect(table: Table, partitions: Sequence[Sequence[Entry]]) -> Expected:
    """What becomes of these logs once all has been read and no partition is idle.

    Lateness is decided where an event is read: by the largest time before it in its partition. Windows
    close per partition where the table is aligned, else where the slowest partition has come to.
    """
    expected, window = Expected(), table.windowing
    groups: dict[tuple[int, int, tuple[Any, ...]], list[Row]] = defaultdict(list)
    stream_times: dict[int, int] = {}
    for number, entries in enumerate(partitions):
        for offset, (time, sale) in enumerate(entries):
            now = stream_times[number] = max(stream_times.get(number, time), time)
            start = 0 if window.size_ms is None else time - time % window.size_ms
            if window.closes_at(start) <= now:
                expected.late.append((number, offset))
                continue
            row = {**msgspec.structs.asdict(sale), "_time": time, "_offset": offset}
            key = tuple(row[name] for name in table.by)
            groups[(number if table.aligned else -1, start, key)].append(row)
    slowest = min(stream_times.values()) if len(stream_times) == len(partitions) else None
    for number in range(len(partitions)):
        expected.watermarks[number] = stream_times.get(number) if table.aligned else slowest
    expected.watermarks[-1] = slowest
    for (number, start, key), rows in groups.items():
        watermark = expected.watermarks[number]
        closed = watermark is not None and window.closes_at(start) <= watermark
        result = (
            {"window_start": start, "window_end": start + window.size_ms} if window.size_ms else {}
        )
        result |= dict(zip(table.by, key, strict=True))
        result |= {column: plain(rows) for column, (_, plain) in COLUMNS.items()}
        (expected.closed if closed else expected.open).append(result)
    return expected

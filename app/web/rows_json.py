"""Tables and rows as JSON values."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import polars as pl

from app.engine.reading.reader import TableInfo
from app.engine.reading.restore_progress import Restoring
from app.engine.windows import WINDOW_END, WINDOW_START
from app.web.rows_query import RowsQuery
from app.web.table_views import Count, Page

SAFE_INTEGER_MAX = 2**53 - 1


def encode(value: Any) -> bytes:
    """JSON as UTF-8."""
    return msgspec.json.encode(value)


def table(
    info: TableInfo, version: int, newest: Count, progress: Restoring | None
) -> dict[str, Any]:
    """What a table is, with the size of its newest window."""
    return {
        "name": info.name,
        "description": info.description,
        "source": info.source,
        "keys": list(info.keys),
        "columns": {name: str(info.schema[name]) for name in (*info.keys, *info.columns)},
        "window": info.window,
        "window_size_ms": info.window_size_ms,
        "version": version,
        "newest_window": newest.window,
        "newest_window_rows": newest.rows,
        "newest_window_rows_exact": newest.exact,
        "restoring": restoring(progress),
    }


def restoring(progress: Restoring | None) -> dict[str, Any] | None:
    """How far a table's restore is; None: it is not being restored."""
    if progress is None:
        return None
    return {
        "percent": progress.percent,
        "partitions": list(progress.partitions),
        "offsets_done": progress.done,
        "offsets_total": progress.total,
        "bytes_read": progress.size,
        "bytes_per_second": round(progress.bytes_per_second),
        "seconds_left": None if progress.seconds_left is None else round(progress.seconds_left, 1),
    }


def rows(
    info: TableInfo, query: RowsQuery, page: Page, progress: Restoring | None = None
) -> dict[str, Any]:
    """A page of rows. Without its version, which an event has as its id."""
    frame = page.frame
    if info.window_size_ms is None:
        frame = frame.drop(WINDOW_START, WINDOW_END)
    return {
        "table": info.name,
        "window": query.window,
        "windows_left_out": page.left_out,
        "truncated": page.truncated,
        "total": page.total,
        "total_unfiltered": page.total_unfiltered,
        "offset": query.offset,
        "limit": query.limit,
        "restoring": restoring(progress),
        "rows": records(frame),
    }


def records(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as JSON can hold them."""
    names = frame.columns
    columns = [[_safe(value) for value in _plain(column).to_list()] for column in frame]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain(column: pl.Series) -> pl.Series:
    """Times as integer milliseconds."""
    if isinstance(column.dtype, pl.Date):
        column = column.cast(pl.Datetime("ms"))
    return column.dt.epoch("ms") if isinstance(column.dtype, pl.Datetime) else column


def _safe(value: Any) -> Any:
    """JSON has no NaN, and JavaScript no integers beyond 2^53."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= SAFE_INTEGER_MAX else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_safe(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _safe(item) for key, item in value.items()}
    return value if value is None else str(value)

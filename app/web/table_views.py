"""Pages of a table's rows, filtered and sorted by Polars; many viewers cost one computation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from app.engine.reader import TableInfo, TableReader
from app.web.recent import Recent
from app.web.rows_query import WINDOW_START, RowsQuery

WINDOW_END = "window_end"
VIEW_ROWS_MAX = 1_000_000
CACHED_ROWS_MAX = 2_000_000
CACHED_POSITIONS_MAX = 8_000_000
_POSITION = "position"

Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Page:
    """The rows that a query asks for.

    frame:            window_start, window_end (ms), the keys, the columns; at most `limit` rows.
    total:            rows that match the filter.
    total_unfiltered: rows of the chosen windows.
    window:           start of the chosen window in ms; None: several, or there is none.
    windows:          starts of all windows that are kept, newest first.
    left_out:         so many of the oldest windows were left out, as all of them would be more
                      than VIEW_ROWS_MAX rows.
    """

    frame: pl.DataFrame
    total: int
    total_unfiltered: int
    version: int
    window: int | None
    windows: tuple[int, ...]
    left_out: int


@dataclass(frozen=True)
class _Base:
    frame: pl.DataFrame
    left_out: int

    def __len__(self) -> int:
        return self.frame.height


class TableViews:
    """Answers queries from a reader. Works in one thread of its own, so its caches need no lock.

    The rows of a window, and their order under a filter and sort, are kept for the newest version
    that was asked for, up to CACHED_ROWS_MAX and CACHED_POSITIONS_MAX of them.
    """

    def __init__(self, reader: TableReader) -> None:
        self._reader = reader
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="table-views")
        self._bases = Recent[_Base](CACHED_ROWS_MAX)
        self._orders = Recent[pl.Series](CACHED_POSITIONS_MAX)
        self._counts: dict[str, tuple[int, int | None, int]] = {}

    def close(self) -> None:
        """Let the thread end when it has finished what it is at."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def page(self, info: TableInfo, query: RowsQuery, show: Callable[[Page], Shown]) -> Shown:
        """What `show`, called in this object's thread, makes of the rows of a query.

        The rows are as new as the last checkpoint.
        """
        version = self._reader.version(info.name)
        windows = tuple(self._reader.windows(info.name))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, lambda: show(self._page(info, query, version, windows))
        )

    async def count(self, info: TableInfo) -> tuple[int | None, int]:
        """Start (ms) of the newest window, None if there is none, and the number of its rows."""
        version = self._reader.version(info.name)
        newest = next(iter(self._reader.windows(info.name)), None)
        known = self._counts.get(info.name)
        if known is None or known[:2] != (version, newest):
            loop = asyncio.get_running_loop()
            rows = await loop.run_in_executor(self._thread, self._height, info.name, newest)
            known = self._counts[info.name] = (version, newest, rows)
        return newest, known[2]

    def _height(self, table: str, window: int | None) -> int:
        return 0 if window is None else self._reader.window(table, window).height

    def _page(
        self, info: TableInfo, query: RowsQuery, version: int, windows: tuple[int, ...]
    ) -> Page:
        window = query.window
        chosen: Sequence[int] = (window,) if isinstance(window, int) else windows
        if window == "newest":
            chosen = windows[:1]
        scope = None if window == "all" else next(iter(chosen), None)
        rows = (info.name, window == "all", scope)
        base = self._bases.get(rows, version, lambda: self._base(info, chosen))
        view = (*rows, query.filters, query.sort, query.descending)
        order = self._orders.get(view, version, lambda: _order(base.frame, info, query))
        return Page(
            frame=base.frame[order.slice(query.offset, query.limit)],
            total=len(order),
            total_unfiltered=len(base),
            version=version,
            window=scope,
            windows=windows,
            left_out=base.left_out,
        )

    def _base(self, info: TableInfo, windows: Sequence[int]) -> _Base:
        """The rows of some windows, newest first, by their keys within each."""
        frames: list[pl.DataFrame] = []
        rows = 0
        for start in windows:
            frame = self._reader.window(info.name, start)
            rows += frame.height
            if frames and rows > VIEW_ROWS_MAX:
                break
            frames.append(_by_key(frame, info))
        if not frames:
            return _Base(empty(info), 0)
        return _Base(pl.concat(frames), len(windows) - len(frames))


def page_of(info: TableInfo, query: RowsQuery, rows: pl.DataFrame) -> Page:
    """The rows that a query asks for, of a window that has been read."""
    frame = _by_key(rows, info)
    order = _order(frame, info, query)
    return Page(
        frame=frame[order.slice(query.offset, query.limit)],
        total=len(order),
        total_unfiltered=len(frame),
        version=0,
        window=None,
        windows=(),
        left_out=0,
    )


def _by_key(frame: pl.DataFrame, info: TableInfo) -> pl.DataFrame:
    """In the order of the keys; a table without windows is from here on as of one."""
    if info.window_size_ms is None:
        zero = pl.lit(0, pl.Int64)
        frame = frame.select(zero.alias(WINDOW_START), zero.alias(WINDOW_END), pl.all())
    return frame.sort(*info.keys, nulls_last=True) if info.keys else frame


def empty(info: TableInfo) -> pl.DataFrame:
    """A table's frame without rows."""
    names = (*info.keys, *info.columns)
    return pl.DataFrame(
        schema={
            WINDOW_START: pl.Int64(),
            WINDOW_END: pl.Int64(),
            **{name: info.schema[name] for name in names},
        }
    )


def key_text(name: str, dtype: pl.DataType) -> pl.Expr:
    """A key column as the pages show it, and as filters see it."""
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        return column.dt.to_string("%Y-%m-%d %H:%M:%S")
    return column if isinstance(dtype, pl.String) else column.cast(pl.String)


def _order(frame: pl.DataFrame, info: TableInfo, query: RowsQuery) -> pl.Series:
    """Positions in `frame` of the rows that match, in the query's order."""
    positions = frame.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias(_POSITION), query.sort)
    if query.filters:
        positions = positions.filter(frame.select(_matches(info, query)).to_series())
    return positions.sort(
        query.sort, descending=query.descending, nulls_last=True, maintain_order=True
    ).get_column(_POSITION)


def _matches(info: TableInfo, query: RowsQuery) -> pl.Expr:
    def contains(key: str, text: str) -> pl.Expr:
        pattern = "(?i)" + pl.escape_regex(text)
        return key_text(key, info.schema[key]).str.contains(pattern).fill_null(False)

    return pl.all_horizontal(
        pl.any_horizontal(contains(key, text) for key in ([column] if column else info.keys))
        for column, text in query.filters
    )

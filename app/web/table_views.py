"""Pages of a table's rows, filtered and sorted by Polars; many viewers cost one computation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from app.engine.language.question import Question, Rows
from app.engine.reading.reader import TableInfo, TableReader
from app.engine.windows import WINDOW_END, WINDOW_START
from app.web.recent import Recent
from app.web.rows_query import RowsQuery

_BASES_CACHED = 2
_ORDERS_CACHED = 8
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
                      rows than are looked at.
    truncated:        of the chosen window only a part was looked at.
    """

    frame: pl.DataFrame
    total: int
    total_unfiltered: int
    version: int
    window: int | None
    windows: tuple[int, ...]
    left_out: int
    truncated: bool


@dataclass(frozen=True)
class Count:
    """The newest window of a table: its start in ms (None: there is none); its rows, or how many there are at most."""

    window: int | None
    rows: int
    exact: bool


@dataclass(frozen=True)
class _Base:
    frame: pl.DataFrame
    left_out: int = 0
    truncated: bool = False

    def __len__(self) -> int:
        return self.frame.height


class TableViews:
    """Answers queries from a reader. Works in one thread of its own, so its caches need no lock.

    The rows of a window, and their order under a filter and sort, are kept for the newest version
    that was asked for.

    rows_max: that a query looks at. Of a window that has more a part is shown, and the rows of a key that
    a filter names in full.
    """

    def __init__(self, reader: TableReader, rows_max: int) -> None:
        self._reader = reader
        self._rows_max = rows_max
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="table-views")
        self._bases = Recent[_Base](_BASES_CACHED * rows_max)
        self._orders = Recent[pl.Series](_ORDERS_CACHED * rows_max)
        self._counts: dict[str, tuple[int, Count]] = {}

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

    async def count(self, info: TableInfo) -> Count:
        """How many rows the newest window has."""
        version = self._reader.version(info.name)
        newest = next(iter(self._reader.windows(info.name)), None)
        known = self._counts.get(info.name)
        if known is None or known[0] != version or known[1].window != newest:
            loop = asyncio.get_running_loop()
            count = await loop.run_in_executor(self._thread, self._counted, info.name, newest)
            known = self._counts[info.name] = (version, count)
        return known[1]

    def _counted(self, table: str, window: int | None) -> Count:
        if window is None:
            return Count(None, 0, exact=True)
        if (most := self._reader.rows_at_most(table, window)) > self._rows_max:
            return Count(window, most, exact=False)
        return Count(window, self._reader.window(table, window).height, exact=True)

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
        if base.truncated and (key := named_key(info, query)) is not None:
            frame = self._with_key(base.frame, info, key, chosen)
            order = _order(frame, info, query)
        else:
            frame = base.frame
            order = self._orders.get(view, version, lambda: _order(frame, info, query))
        return Page(
            frame=frame[order.slice(query.offset, query.limit)],
            total=len(order),
            total_unfiltered=len(frame),
            version=version,
            window=scope,
            windows=windows,
            left_out=base.left_out,
            truncated=base.truncated,
        )

    def _base(self, info: TableInfo, windows: Sequence[int]) -> _Base:
        """The rows of some windows, newest first, by their keys within each."""
        frames: list[pl.DataFrame] = []
        left = self._rows_max
        for start in windows:
            frame = self._reader.window(info.name, start, left + 1)
            if frames and frame.height > left:
                break
            frames.append(_by_key(frame.head(left), info))
            if frame.height > left:
                return _Base(frames[0], len(windows) - 1, truncated=True)
            left -= frame.height
        if not frames:
            return _Base(empty(info))
        return _Base(pl.concat(frames), len(windows) - len(frames))

    def _with_key(
        self, frame: pl.DataFrame, info: TableInfo, key: pl.DataFrame, windows: Sequence[int]
    ) -> pl.DataFrame:
        """A part of a window, with all rows of this key, wherever they are."""
        partitions = self._reader.partitions(info.name)
        pieces = self._reader.answer(Question(info.name, keys=key), partitions)
        found = [_by_key(piece.frame, info) for piece in pieces if isinstance(piece, Rows)]
        found = [rows.filter(pl.col(WINDOW_START).is_in(list(windows))) for rows in found]
        return pl.concat([*found, frame.join(key, on=info.keys, how="anti")])


class FirstRows:
    """The rows that a query asks for, of frames that come one after the other: no more than the first are kept."""

    def __init__(self, info: TableInfo, query: RowsQuery) -> None:
        self._info = info
        self._query = query
        self._frame = empty(info)
        self._total = 0
        self._total_unfiltered = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Some rows of the window."""
        news = _by_key(rows, self._info)
        matching = news[_order(news, self._info, self._query).sort()]
        self._total += len(matching)
        self._total_unfiltered += len(news)
        both = pl.concat([self._frame, matching]).sort(*self._info.keys, nulls_last=True)
        order = _order(both, self._info, self._query)
        self._frame = both[order.head(self._query.offset + self._query.limit)]

    def page(self) -> Page:
        """The page of them all."""
        return Page(
            frame=self._frame[self._query.offset :],
            total=self._total,
            total_unfiltered=self._total_unfiltered,
            version=0,
            window=None,
            windows=(),
            left_out=0,
            truncated=False,
        )


def named_key(info: TableInfo, query: RowsQuery) -> pl.DataFrame | None:
    """The key that the filters of a query would be if they were meant in full; None: they name none."""
    texts = dict(query.filters)
    if len(info.keys) == 1 and "" in texts:
        texts = {info.keys[0]: texts[""]}
    if not set(info.keys) <= texts.keys():
        return None
    kinds = {name: info.schema[name] for name in info.keys}
    if not all(kind == pl.String() or kind.is_integer() for kind in kinds.values()):
        return None
    key = pl.DataFrame(
        [pl.Series(name, [texts[name]]).cast(kind, strict=False) for name, kind in kinds.items()]
    )
    return None if any(series.null_count() for series in key) else key


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

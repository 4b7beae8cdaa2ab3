"""A `TableReader` in memory: tables whose rows a test changes as it likes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence

import polars as pl

from app.engine.language.question import Key, Question, Rows
from app.engine.reading.reader import TableInfo
from app.engine.reading.restore_progress import Restoring
from app.web.table_views import empty

MINUTE_MS = 60_000


class FakeTable:
    """One table: its windows by start, and how often it was read."""

    def __init__(self, info: TableInfo, windows: Iterable[pl.DataFrame] = ()) -> None:
        self.info = info
        self.version = 0
        self.reads = 0
        self.restoring: Restoring | None = None
        self.windows: dict[int, pl.DataFrame] = {}
        for frame in windows:
            self.windows[frame["window_start"][0]] = frame


class FakeReader:
    """Reads `FakeTable`s; `put` stands for a checkpoint."""

    def __init__(self, *tables: FakeTable) -> None:
        self._tables = {table.info.name: table for table in tables}
        self._changes = asyncio.Condition()

    def __getitem__(self, name: str) -> FakeTable:
        return self._tables[name]

    def tables(self) -> Sequence[TableInfo]:
        return [table.info for _, table in sorted(self._tables.items())]

    def windows(self, table: str) -> Sequence[int]:
        return sorted(self._tables[table].windows, reverse=True)

    def rows_at_most(self, table: str, start_ms: int) -> int:
        frame = self._tables[table].windows.get(start_ms)
        return 0 if frame is None else 2 * frame.height

    def window(self, table: str, start_ms: int, rows_max: int | None = None) -> pl.DataFrame:
        found = self._tables[table]
        found.reads += 1
        frame = found.windows.get(start_ms, empty(found.info))
        return frame if rows_max is None else frame.head(rows_max)

    def partitions(self, table: str) -> frozenset[int]:
        return frozenset({0})

    def answer(
        self, question: Question, partitions: Collection[int]
    ) -> Iterator[Rows | frozenset[int]]:
        found = self._tables[question.table]
        if question.keys is not None and partitions:
            for frame in found.windows.values():
                yield Rows(0, frame.join(question.keys, on=found.info.keys, how="semi"))
        yield frozenset(partitions)

    def ready(self, table: str, key: Key, partitions: Collection[int] | None = None) -> None:
        """They must always be read."""

    def restoring(self, table: str) -> Restoring | None:
        return self._tables[table].restoring

    def version(self, table: str) -> int:
        return self._tables[table].version

    async def changed(self, table: str, version: int) -> int:
        async with self._changes:
            await self._changes.wait_for(lambda: self._tables[table].version != version)
        return self._tables[table].version

    async def put(self, table: str, *windows: pl.DataFrame) -> None:
        """Replace windows, and tell those who wait."""
        found = self._tables[table]
        found.windows |= {frame["window_start"][0]: frame for frame in windows}
        found.version += 1
        async with self._changes:
            self._changes.notify_all()


def describe(
    name: str,
    keys: dict[str, pl.DataType],
    columns: dict[str, pl.DataType],
    *,
    description: str = "",
    source: str = "order.placed",
) -> TableInfo:
    """The description of a table of tumbling minutes."""
    return TableInfo(
        name=name,
        description=description,
        source=source,
        keys=tuple(keys),
        columns=tuple(columns),
        schema={**keys, **columns},
        window="tumbling 1m, grace 10s",
        window_size_ms=MINUTE_MS,
    )


def frame(info: TableInfo, start_ms: int, data: dict[str, list[object]]) -> pl.DataFrame:
    """The rows of one window."""
    rows = pl.DataFrame(data, schema=dict(info.schema))
    bounds = [
        pl.lit(start_ms, pl.Int64).alias("window_start"),
        pl.lit(start_ms + info.window_size_ms, pl.Int64).alias("window_end"),
    ]
    return rows.select(*bounds, *info.keys, *info.columns)

"""Reading tables from code: `await table.get(key)` and its like; what is read at one moment is read together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from app.engine.reader import TableReader

if TYPE_CHECKING:
    from app.engine.table import Table

_KEYS_TOGETHER_MAX = 10_000

Answer = TypeVar("Answer")


class TableKeyError(KeyError):
    """A key does not have the form of the table's; the message says which form that is."""


class TableReads:
    """Reads one table for the code of a worker, in a thread of its own, while writing goes on.

    Keys that are asked for while others are being read wait for each other, and are read in one pass.
    """

    def __init__(self, table: Table, reader: TableReader, thread: ThreadPoolExecutor) -> None:
        self._table = table
        self._reader = reader
        self._thread = thread
        self._asked: list[tuple[tuple[Any, ...], asyncio.Future[pl.DataFrame]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: Any) -> pl.DataFrame:
        """The rows of one key."""
        answer: asyncio.Future[pl.DataFrame] = asyncio.get_running_loop().create_future()
        self._asked.append((self._key(key), answer))
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read_asked())
        return await answer

    async def range(self, keys: Iterable[Any]) -> pl.DataFrame:
        """The rows of several keys."""
        return await self._run(self._rows, dict.fromkeys(map(self._key, keys)))

    async def window(self, time: int | datetime) -> pl.DataFrame:
        """The rows of the window that holds a time (ms, or a datetime with its zone)."""
        time_ms = time if isinstance(time, int) else round(time.timestamp() * 1000)
        pane = self._table.windowing.pane_of(time_ms)
        return await self._run(self._reader.window, self._table.name, pane)

    async def scan(self) -> AsyncIterator[pl.DataFrame]:
        """All rows, window after window, in frames of bounded size."""
        for pane in sorted(self._reader.windows(self._table.name)):
            slices = self._reader.slices(self._table.name, pane)
            while (frame := await self._run(_next, slices)) is not None:
                if len(frame):
                    yield frame

    async def _read_asked(self) -> None:
        try:
            while self._asked:
                asked = self._asked[:_KEYS_TOGETHER_MAX]
                del self._asked[:_KEYS_TOGETHER_MAX]
                keys = dict.fromkeys(key for key, _ in asked)
                try:
                    rows = await self._run(self._rows, keys)
                    by_key = rows.partition_by(self._table.by, as_dict=True)
                except Exception as error:
                    for _, answer in asked:
                        if not answer.done():
                            answer.set_exception(error)
                    continue
                for key, answer in asked:
                    if not answer.done():
                        answer.set_result(by_key.get(key, rows.clear()))
        finally:
            self._reading = None

    def _rows(self, keys: Iterable[tuple[Any, ...]]) -> pl.DataFrame:
        kinds = {name: self._table.row_schema[name] for name in self._table.by}
        wanted = pl.DataFrame(list(keys), schema=kinds, orient="row")
        return self._reader.rows(self._table.name, wanted)

    def _key(self, key: Any) -> tuple[Any, ...]:
        """A key as a tuple of its columns' values."""
        by = self._table.by
        values = key if isinstance(key, tuple) else (key,)
        if len(values) != len(by):
            form = f"({', '.join(by)})" if len(by) > 1 else by[0]
            raise TableKeyError(f"table {self._table.name!r}: a key is {form}, not {key!r}")
        for name, value in zip(by, values, strict=True):
            kind = self._table.row_schema[name]
            if value is not None and not isinstance(value, kind.to_python()):
                raise TableKeyError(f"table {self._table.name!r}: {name} is {kind}, not {value!r}")
        return values

    async def _run(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def _next(frames: Iterator[pl.DataFrame]) -> pl.DataFrame | None:
    return next(frames, None)

"""Reading tables from code: `await table.get(key)` and its like; what is read at one moment is read together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import polars as pl

from app.engine.language.answers import Answers
from app.engine.language.parts_missing import PartsMissingError
from app.engine.language.question import WINDOWS, Key, Question
from app.engine.windows import WINDOW_START

if TYPE_CHECKING:
    from app.engine.language.table import Table

_KEYS_TOGETHER_MAX = 10_000
_AT_ONCE_MAX = 50
"""So many reads are answered at once before others have their turn in the event loop."""


class TableKeyError(KeyError):
    """A key does not have the form of the table's; the message says which form that is."""


class TableReads:
    """Reads one table for the code of a worker, while writing goes on.

    The rows of a key that are ready are given at once. Other keys that are asked for while some are being read wait
    for each other, and are read in one pass.
    Where a part is missing, PartsMissingError has the rows of the rest.
    """

    def __init__(self, table: Table, answers: Answers) -> None:
        self._table = table
        self._answers = answers
        self._asked: list[tuple[Key, asyncio.Future[pl.DataFrame]]] = []
        self._reading: asyncio.Task[None] | None = None
        self._at_once = 0
        self._types = [table.row_schema[name].to_python() for name in table.by]

    async def get(self, key: Any) -> pl.DataFrame:
        """The rows of one key."""
        asked = self._key(key)
        ready = self._answers.ready(self._table.name, asked)
        if ready is not None:
            self._at_once += 1
            if self._at_once % _AT_ONCE_MAX == 0:
                await asyncio.sleep(0)
            frames = [rows.frame for rows in ready]
            return frames[0] if len(frames) == 1 else self._ordered(frames)
        answer: asyncio.Future[pl.DataFrame] = asyncio.get_running_loop().create_future()
        self._asked.append((asked, answer))
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read_asked())
        return await answer

    async def range(self, keys: Iterable[Any]) -> pl.DataFrame:
        """The rows of several keys."""
        wanted = iter(dict.fromkeys(map(self._key, keys)))
        found = []
        while some := list(islice(wanted, _KEYS_TOGETHER_MAX)):
            found.append(await self._found(some))
        missing = {number: why for item in found for number, why in item.missing.items()}
        rows = self._ordered([frame for item in found for frame in item.frames])
        return self._whole(rows, missing, found[0].count if found else 0)

    async def window(self, time: int | datetime) -> pl.DataFrame:
        """The rows of the window that holds a time (ms, or a datetime with its zone)."""
        found = await self._answers.gather(
            Question(self._table.name, window=self._pane(time)), None
        )
        return self._whole(self._ordered(found.frames), found.missing, found.count)

    async def windows(self) -> list[int]:
        """Start times (ms) of the windows that are kept, newest first."""
        starts, missing, count = await self._windows()
        self._whole(pl.DataFrame({"window": starts}, schema=WINDOWS), missing, count)
        return starts

    async def scan(self, time: int | datetime | None = None) -> AsyncIterator[pl.DataFrame]:
        """All rows, window after window, in frames of bounded size. What is missing is told at the end.

        time: only those of the window that holds it (ms, or a datetime with its zone).
        """
        starts, absent, count = await self._windows()
        if time is not None:
            starts = [start for start in starts if start == self._pane(time)]
        missing = dict(absent)
        for start in reversed(starts):
            try:
                async for frame in self._answers.stream(Question(self._table.name, window=start)):
                    if len(frame):
                        yield frame
            except PartsMissingError as error:
                missing |= error.missing
        self._whole(pl.DataFrame(), missing, count)

    def _pane(self, time: int | datetime) -> int:
        time_ms = time if isinstance(time, int) else round(time.timestamp() * 1000)
        return self._table.windowing.pane_of(time_ms)

    async def _windows(self) -> tuple[list[int], Mapping[int, str], int]:
        found = await self._answers.gather(Question(self._table.name), None)
        starts = {start for frame in found.frames for start in frame.to_series()}
        return sorted(starts, reverse=True), found.missing, found.count

    async def _read_asked(self) -> None:
        try:
            while self._asked:
                asked = self._asked[:_KEYS_TOGETHER_MAX]
                del self._asked[:_KEYS_TOGETHER_MAX]
                try:
                    found = await self._found(list(dict.fromkeys(key for key, _ in asked)))
                    by_key, none = self._by_key(found.frames), self._ordered([])
                except Exception as error:
                    for _, answer in asked:
                        if not answer.done():
                            answer.set_exception(error)
                    continue
                for key, answer in asked:
                    if not answer.done():
                        self._settle(answer, by_key.get(key, none), found, key)
        finally:
            self._reading = None

    def _by_key(self, frames: Iterable[pl.DataFrame]) -> dict[Key, pl.DataFrame]:
        """The rows of each key, the newest window first. No slices: each would wait for the interpreter."""
        by = self._table.by
        parts: dict[Key, list[pl.DataFrame]] = {}
        for frame in frames:
            for rows in frame.partition_by(by, maintain_order=True):
                key = tuple(rows[name][0] for name in by)
                parts.setdefault(key, []).append(rows)
        return {
            key: self._ordered(rows) if len(rows) > 1 else rows[0] for key, rows in parts.items()
        }

    def _settle(
        self, answer: asyncio.Future[pl.DataFrame], rows: pl.DataFrame, found: _Found, key: Key
    ) -> None:
        try:
            answer.set_result(self._whole(rows, found.missing_of(key), found.count))
        except PartsMissingError as error:
            answer.set_exception(error)

    async def _found(self, keys: Sequence[Key]) -> _Found:
        """Read keys, each where it can be."""
        kinds = {name: self._table.row_schema[name] for name in self._table.by}
        wanted = pl.DataFrame(keys, schema=kinds, orient="row")
        placed = self._answers.placed(self._table.name, wanted)
        partitions: Collection[int] | None = None if placed is None else set(placed)
        gathered = await self._answers.gather(Question(self._table.name, keys=wanted), partitions)
        return _Found(
            gathered.frames,
            gathered.missing,
            gathered.count,
            None if placed is None else dict(zip(keys, placed, strict=True)),
        )

    def _ordered(self, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """One frame, the newest window first."""
        filled = [frame for frame in frames if len(frame)]
        rows = pl.concat(filled) if filled else pl.DataFrame(schema=self._table.row_schema)
        if not self._table.windowed:
            return rows
        return rows.sort(WINDOW_START, descending=True, maintain_order=True)

    def _whole(self, rows: pl.DataFrame, missing: Mapping[int, str], count: int) -> pl.DataFrame:
        if missing:
            raise PartsMissingError(self._table.name, missing, count, rows)
        return rows

    def _key(self, key: Any) -> Key:
        """A key as a tuple of its columns' values."""
        by = self._table.by
        values = key if isinstance(key, tuple) else (key,)
        if len(values) != len(by):
            form = f"({', '.join(by)})" if len(by) > 1 else by[0]
            raise TableKeyError(f"table {self._table.name!r}: a key is {form}, not {key!r}")
        for name, value, python in zip(by, values, self._types, strict=True):
            if value is not None and not (isinstance(value, python) and _can_be_a_key(value)):
                kind = self._table.row_schema[name]
                raise TableKeyError(f"table {self._table.name!r}: {name} is {kind}, not {value!r}")
        return values


def _can_be_a_key(value: object) -> bool:
    """Whether a column of the value's type holds it; it is asked for in one frame with the keys of others."""
    match value:
        case int():
            return -(1 << 63) <= value < 1 << 63
        case datetime():
            return value.tzinfo is not None
        case str() if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:  # half of a character
                return False
    return True


@dataclass(frozen=True)
class _Found:
    """The rows of some keys; `placed` says in which partition each of them can be, None: in any."""

    frames: Sequence[pl.DataFrame]
    missing: Mapping[int, str]
    count: int
    placed: Mapping[Key, int] | None

    def missing_of(self, key: Key) -> Mapping[int, str]:
        """Where else the key may have rows."""
        if self.placed is None:
            return self.missing
        number = self.placed[key]
        return {number: self.missing[number]} if number in self.missing else {}

"""What a reader of tables may ask: committed state only, never the delta in flight."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from app.engine.language.question import Key, Question, Rows
from app.engine.reading.restore_progress import Restoring


@dataclass(frozen=True)
class TableInfo:
    """What a table is, for those who show it.

    `keys` and `columns` are names in the order of the definition; `schema` maps both to Polars types.
    `window` is the human name of the window kind ("tumbling 1m, grace 10s"); a table without windows has
    no `window_size_ms`, all its rows in the window that starts at 0, and no columns of the window.
    """

    name: str
    description: str
    source: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    schema: Mapping[str, pl.DataType]
    window: str
    window_size_ms: int | None


class TableReader(Protocol):
    """Reads the committed state of this worker's partitions."""

    def tables(self) -> Sequence[TableInfo]:
        """All tables, in the order of their names."""
        ...

    def windows(self, table: str) -> Sequence[int]:
        """Start times (ms) of the windows that are kept, newest first. KeyError: no such table."""
        ...

    def rows_at_most(self, table: str, start_ms: int) -> int:
        """How many rows a window has at most; known without reading them. KeyError: no such table."""
        ...

    def window(self, table: str, start_ms: int, rows_max: int | None = None) -> pl.DataFrame:
        """All rows of one window, or so many of them, unsorted; empty when there is none.

        Columns: window_start, window_end (int ms) if it has windows, the keys, the columns.
        """
        ...

    def partitions(self, table: str) -> frozenset[int]:
        """The table's partitions that this worker has now."""
        ...

    def answer(
        self, question: Question, partitions: Collection[int]
    ) -> Iterator[Rows | frozenset[int]]:
        """The answer from these partitions, in frames of bounded size; last, those that it is whole for."""
        ...

    def ready(
        self, table: str, key: Key, partitions: Collection[int] | None = None
    ) -> list[Rows] | None:
        """The rows of one key in each of these partitions (all that are here), if they can be had without waiting."""
        ...

    def restoring(self, table: str) -> Restoring | None:
        """How far the table is in being restored; None: it is not."""
        ...

    def version(self, table: str) -> int:
        """Grows with each checkpoint that changed the table, and when its partitions come or go."""
        ...

    async def changed(self, table: str, version: int) -> int:
        """Wait until the table's version is not `version`; return the new one."""
        ...

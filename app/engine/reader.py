"""What a reader of tables may ask: committed state only, never the delta in flight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl


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


@dataclass(frozen=True)
class Rows:
    """One page of a table: `frame` has window_start, window_end (int ms), the keys, then the columns."""

    frame: pl.DataFrame
    total: int
    version: int


class TableReader(Protocol):
    """Reads the committed state of this worker's partitions."""

    def tables(self) -> Sequence[TableInfo]:
        """All tables, in the order of their names."""
        ...

    def windows(self, table: str) -> Sequence[int]:
        """Start times (ms) of the windows that are kept, newest first. KeyError: no such table."""
        ...

    def window(self, table: str, start_ms: int) -> pl.DataFrame:
        """All rows of one window, unsorted; empty when there is none. Same columns as `Rows.frame`."""
        ...

    def slices(self, table: str, start_ms: int) -> Iterator[pl.DataFrame]:
        """The same rows in frames of bounded size."""
        ...

    def rows(self, table: str, keys: pl.DataFrame) -> pl.DataFrame:
        """The rows of these keys (the table's key columns) in all windows that are kept, newest first."""
        ...

    def version(self, table: str) -> int:
        """Grows with each checkpoint that changed the table."""
        ...

    async def changed(self, table: str, version: int) -> int:
        """Wait until the table's version is not `version`; return the new one."""
        ...

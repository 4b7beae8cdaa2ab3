"""What one worker asks another about a table, and what comes back: pieces, and then of which partitions they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import polars as pl

Key: TypeAlias = tuple[Any, ...]
"""The values of a table's key columns."""


@dataclass(frozen=True)
class Question:
    """Asks for the rows of `keys` (the table's key columns), or for those of the window that starts at `window` (ms).

    With neither it asks which windows are kept: the answer is WINDOWS.
    """

    table: str
    keys: pl.DataFrame | None = None
    window: int | None = None


WINDOWS = pl.Schema({"window": pl.Int64()})
"""The answer to the question which windows are kept: their starts in ms."""


@dataclass(frozen=True)
class Rows:
    """Some of the answer; all of it is of one partition.

    Where keys were asked for, the rows of a key are in the order of their windows, the newest first.
    """

    partition: int
    frame: pl.DataFrame


class Covered(msgspec.Struct, frozen=True):
    """The end of an answer: these partitions have been answered in full. What came of others does not count.

    generation: of the consumer group, in which the worker owns them; NO_GENERATION: it cannot tell.
    """

    generation: int
    partitions: tuple[int, ...] = ()


NO_GENERATION = -1

Piece: TypeAlias = Rows | Covered

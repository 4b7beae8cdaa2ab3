"""What `TableReads` reads from: one worker's partitions, or those of all workers of the group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from app.engine.language.question import Key, Question, Rows


@dataclass(frozen=True)
class Gathered:
    """An answer as a whole.

    missing: partition to the reason why nobody answers for it; of all of the table's `count` partitions.
    """

    frames: Sequence[pl.DataFrame]
    missing: Mapping[int, str] = field(default_factory=dict)
    count: int = 0


class Answers(Protocol):
    """Answers questions about tables."""

    def placed(self, table: str, keys: pl.DataFrame) -> Sequence[int] | None:
        """The one partition that each key can be in; None: it may be in any."""
        ...

    def ready(self, table: str, key: Key) -> Sequence[Rows] | None:
        """The rows of one key, if they can be had without waiting."""
        ...

    async def gather(self, question: Question, partitions: Collection[int] | None) -> Gathered:
        """The answer of these partitions, or of all."""
        ...

    def stream(self, question: Question) -> AsyncIterator[pl.DataFrame]:
        """The answer of all partitions, frame by frame. PartsMissingError, at the end: of some there is none."""
        ...

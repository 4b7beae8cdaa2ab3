"""Answers from this worker's own partitions, to its own code and to other workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import polars as pl

from app.engine.language.answers import Gathered
from app.engine.language.question import NO_GENERATION, Covered, Key, Piece, Question, Rows
from app.engine.reading.members import Place
from app.engine.reading.reader import TableInfo, TableReader

_ROWS_TOGETHER = 10_000
_KEYS_AT_ONCE_MAX = 50


class LocalAnswers:
    """Answers of one worker, read in a thread of their own while writing goes on.

    place: this worker's place in the group.
    """

    def __init__(self, reader: TableReader, thread: ThreadPoolExecutor) -> None:
        self._reader = reader
        self._thread = thread
        self.place: Callable[[], Place] = lambda: Place(0, "")

    def partitions(self, table: str) -> frozenset[int]:
        """Those that this worker has now."""
        return self._reader.partitions(table)

    def table(self, name: str) -> TableInfo | None:
        """The description of a table; None: there is none of this name."""
        return next((info for info in self._reader.tables() if info.name == name), None)

    async def answer(self, question: Question, partitions: Collection[int]) -> AsyncIterator[Piece]:
        """The pieces of these partitions, and then which of them this worker has been the owner of throughout."""
        place = self.place()
        if (ready := self._at_once(question, partitions)) is not None:
            for rows in ready:
                yield rows
            here = self.partitions(question.table) & set(partitions)
            yield Covered(place.generation, tuple(sorted(here)))
            return
        pieces = self._reader.answer(question, partitions)
        loop = asyncio.get_running_loop()
        while True:
            for piece in await loop.run_in_executor(self._thread, _next, pieces):
                if isinstance(piece, Rows):
                    yield piece
                else:
                    sure = self.place() == place
                    yield Covered(place.generation if sure else NO_GENERATION, tuple(sorted(piece)))
                    return

    def _at_once(self, question: Question, partitions: Collection[int]) -> list[Rows] | None:
        """The rows of some keys, if none of them must be read."""
        if question.keys is None or len(question.keys) > _KEYS_AT_ONCE_MAX:
            return None
        found = []
        for key in question.keys.iter_rows():
            ready = self._reader.ready(question.table, key, partitions)
            if ready is None:
                return None
            found += ready
        return found

    def ready(
        self, table: str, key: Key, partitions: Collection[int] | None = None
    ) -> Sequence[Rows] | None:
        """The rows of one key in these partitions, or in all that are here, if they can be had without waiting."""
        return self._reader.ready(table, key, partitions)

    async def gather(self, question: Question, partitions: Collection[int] | None) -> Gathered:
        """All that this worker has; nothing of it is missing."""
        return Gathered([frame async for frame in self.stream(question)])

    async def stream(self, question: Question) -> AsyncIterator[pl.DataFrame]:
        """The same, frame by frame."""
        async for piece in self.answer(question, self.partitions(question.table)):
            if isinstance(piece, Rows):
                yield piece.frame

    def placed(self, table: str, keys: pl.DataFrame) -> None:
        """A key may be in any of the partitions."""
        return


def _next(pieces: Iterator[Rows | frozenset[int]]) -> list[Rows | frozenset[int]]:
    """The next pieces: small ones together, for each time that a thread hands over costs."""
    found, rows = [], 0
    for piece in pieces:
        found.append(piece)
        rows += len(piece.frame) if isinstance(piece, Rows) else 0
        if rows >= _ROWS_TOGETHER:
            break
    return found

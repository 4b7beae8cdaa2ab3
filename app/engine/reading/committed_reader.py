"""Reads tables as the last checkpoint left them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs.key_hash import HASH_MAX, key_hashes
from app.engine.language.question import WINDOWS, Key, Question, Rows
from app.engine.language.reads import TableReads
from app.engine.language.table import Table
from app.engine.processing.checkpoint import Checkpoint
from app.engine.processing.processor import Processor
from app.engine.reading.keyed_rows import Held, keyed_rows
from app.engine.reading.local_answers import LocalAnswers
from app.engine.reading.reader import TableInfo
from app.engine.reading.ready_rows import ReadyRows
from app.engine.reading.restore_progress import RestoreProgress, Restoring
from app.engine.reading.segment_cache import CachedSegment, SegmentCache
from app.engine.state import segment
from app.engine.state.segment import Run
from app.engine.state.store import MissingSegmentError, StateRefusedError, Store
from app.engine.state.table_partition import TablePartition
from app.engine.windows import WINDOW_END, WINDOW_START

_ATTEMPTS = 50
_WAIT_S_MAX = 0.2
"""For a checkpoint that has replaced a segment to become the state, in an event loop that may be busy."""
_SLICE_BYTES = 4 << 20
_SLICE_ROWS = 50_000

Answer = TypeVar("Answer")
Chosen = Callable[[Run], list[int]]
"""Which of a run's segments are of interest."""


class CommittedReader:
    """The `TableReader` of one worker: its partitions, from its store. The tables are read through it.

    cache_bytes_max: of the segments that were read last, as frames, and as much of rows that are kept ready.
    progress: of the tables' restore; None: they are there from the start. on_refused: called, in any thread, when
    the store cannot be read any more.
    """

    def __init__(
        self,
        processor: Processor,
        store: Store,
        *,
        cache_bytes_max: int = 32 << 20,
        progress: RestoreProgress | None = None,
    ) -> None:
        self._processor = processor
        self._store = store
        self._progress = progress
        self._cache = SegmentCache(cache_bytes_max)
        self._ready = ReadyRows(processor, self._read, cache_bytes_max)
        self._versions = dict.fromkeys(processor.tables, 0)
        self._changes = asyncio.Condition()
        self.on_refused: Callable[[StateRefusedError], None] = lambda error: None
        self._published = 0
        self._publishing = threading.Condition()
        self._tasks: set[asyncio.Future[None]] = set()
        self.local = LocalAnswers(self, ThreadPoolExecutor(1, "headrace-reads"))
        for table in processor.tables.values():
            table.serve(TableReads(table, self.local))

    def tables(self) -> Sequence[TableInfo]:
        """All tables, in the order of their names."""
        return [
            TableInfo(
                name=table.name,
                description=table.description,
                source=table.source.__event__.name,
                keys=table.by,
                columns=tuple(table.columns),
                schema={
                    name: kind
                    for name, kind in table.row_schema.items()
                    if name not in (WINDOW_START, WINDOW_END)
                },
                window=str(table.windowing),
                window_size_ms=table.windowing.size_ms,
            )
            for _, table in sorted(self._processor.tables.items())
        ]

    def windows(self, table: str) -> Sequence[int]:
        """Start times (ms) of the windows that are kept, newest first. KeyError: no such table."""
        self._processor.tables[table]
        panes: set[int] = set()
        for item in self._processor.partitions_of(table):
            panes.update(item.stacks.runs)
        return sorted(panes, reverse=True)

    def rows_at_most(self, table: str, start_ms: int) -> int:
        """How many rows a window has at most: a key may have several. KeyError: no such table."""
        self._processor.tables[table]
        return sum(
            head.rows
            for item in self._processor.partitions_of(table)
            for run in item.stacks.runs.get(start_ms, ())
            for head in run.heads
        )

    def window(self, table: str, start_ms: int, rows_max: int | None = None) -> pl.DataFrame:
        """All rows of one window, unsorted; empty when there is none. KeyError: no such table.

        rows_max: so many of them are enough, and no more than these are in memory.
        Blocks while segments are read; may be called from any thread.
        """
        if rows_max is not None and self.rows_at_most(table, start_ms) > rows_max:
            return self._some(table, start_ms, rows_max)

        def rows(item: TablePartition) -> list[pl.DataFrame]:
            watermark = item.meta.watermark  # before the runs, so that it is never ahead of them
            return _result(item.table, self._partials(item, start_ms, _all), watermark)

        return self._gathered(table, rows)

    def _some(self, table: str, start_ms: int, rows_max: int) -> pl.DataFrame:
        """The first rows of a large window, partition after partition."""
        found, left = [pl.DataFrame(schema=self._processor.tables[table].row_schema)], rows_max
        for number in sorted(self.partitions(table)):
            with contextlib.suppress(_NotHere):
                for frame in self._slices(table, number, start_ms):
                    found.append(frame.head(left))
                    left -= len(found[-1])
                    if not left:
                        return pl.concat(found)
        return pl.concat(found)

    def partitions(self, table: str) -> frozenset[int]:
        """The table's partitions that this worker has now."""
        return frozenset(item.partition for item in self._processor.partitions_of(table))

    def answer(
        self, question: Question, partitions: Collection[int]
    ) -> Iterator[Rows | frozenset[int]]:
        """The answer from these partitions, in frames of bounded size; last, those that it is whole for.

        Each frame is as the checkpoint before it left it. A partition that is given up, or was never here,
        is left out. Blocks; may be called from any thread.
        """
        if question.keys is not None:
            yield from self._of_keys(question, question.keys, partitions)
            return
        whole = set()
        for number in sorted(partitions):
            try:
                for frame in self._frames(question, number):
                    yield Rows(number, frame)
            except _NotHere:
                continue
            whole.add(number)
        yield frozenset(whole)

    def ready(
        self, table: str, key: Key, partitions: Collection[int] | None = None
    ) -> list[Rows] | None:
        """The rows of one key in each of these partitions (all that are here), as far as there are some.

        None: they must be read. Does not block; for the event loop.
        """
        return self._ready.find(self._processor.tables[table], key, partitions)

    def stored(self, checkpoint: Checkpoint) -> None:
        """A checkpoint is in the store, and will be the state: make rows ready. Blocks; for the thread that wrote."""
        self._ready.make(checkpoint.changes)

    def _frames(self, question: Question, partition: int) -> Iterator[pl.DataFrame]:
        table = question.table
        if question.window is not None:
            yield from self._slices(table, partition, question.window)
        else:
            starts = sorted(self._here(table, partition).stacks.runs)
            yield pl.DataFrame([starts], schema=WINDOWS)

    def _of_keys(
        self, question: Question, keys: pl.DataFrame, partitions: Collection[int]
    ) -> Iterator[Rows | frozenset[int]]:
        """The rows of these keys in all windows that are kept."""
        table = self._processor.tables[question.table]
        hashes = np.unique(key_hashes(keys, table.by))
        held = []
        for number in sorted(partitions):
            with contextlib.suppress(_NotHere):
                held.append(
                    self._attempt(table.name, number, lambda item: self._held(item, hashes))
                )
        for number, rows in keyed_rows(table, keys, hashes, held):
            yield from (Rows(number, frame) for frame in rows.iter_slices(_SLICE_ROWS))
        yield frozenset(one.partition for one in held)

    def _held(self, item: TablePartition, hashes: npt.NDArray[np.uint64]) -> Held:
        """The segments of a partition that may hold one of these hashes."""
        watermark = item.meta.watermark  # before the runs, so that it is never ahead of them
        panes = {
            run.key(pane, chunk): pane
            for pane, runs in item.stacks.runs.items()
            for run in runs
            for chunk, head in enumerate(run.heads)
            if head.may_hold(hashes)
        }
        found = self._segments(item, list(panes))
        return Held(item.partition, watermark, list(zip(panes.values(), found, strict=True)))

    def _slices(self, table: str, partition: int, start_ms: int) -> Iterator[pl.DataFrame]:
        """The rows of a window in frames of bounded size."""
        runs = self._here(table, partition).stacks.runs.get(start_ms, ())
        size = sum(run.size for run in runs)
        width = (HASH_MAX + 1) // -(-max(size, 1) // _SLICE_BYTES)
        for low in range(0, HASH_MAX + 1, width):
            yield from self._slice(table, partition, start_ms, low, low + width - 1)

    def _gathered(
        self, table: str, of: Callable[[TablePartition], list[pl.DataFrame]]
    ) -> pl.DataFrame:
        definition = self._processor.tables[table]
        frames: list[pl.DataFrame] = []
        for number in self.partitions(table):
            with contextlib.suppress(_NotHere):
                frames += self._attempt(table, number, of)
        return pl.concat(frames) if frames else pl.DataFrame(schema=definition.row_schema)

    def _slice(
        self, table: str, partition: int, pane: int, low: int, high: int
    ) -> list[pl.DataFrame]:
        definition = self._processor.tables[table]

        def chosen(run: Run) -> list[int]:
            return [n for n, head in enumerate(run.heads) if head.low <= high and head.high >= low]

        def cut(item: TablePartition) -> list[pl.DataFrame]:
            watermark, frames = item.meta.watermark, []
            for frame in self._partials(item, pane, chosen):
                hashes = key_hashes(frame, definition.by)
                frames.append(frame.filter((hashes >= low) & (hashes <= high)))
            return _result(definition, frames, watermark)

        return self._attempt(table, partition, cut)

    def _partials(self, item: TablePartition, pane: int, chosen: Chosen) -> list[pl.DataFrame]:
        """The frames of some of a window's segments."""
        runs = item.stacks.runs.get(pane, ())
        keys = [run.key(pane, chunk) for run in runs for chunk in chosen(run)]
        return [segment.frame for segment in self._segments(item, keys)]

    def _segments(self, item: TablePartition, keys: Sequence[bytes]) -> list[CachedSegment]:
        """Segments of a partition. MissingSegmentError: a checkpoint has just replaced one."""
        here, by = (item.table.name, item.partition), item.table.by
        found = {key: self._cache.get((*here, key)) for key in keys}
        missing = [key for key, held in found.items() if held is None]
        for key, frame in zip(missing, self._read(item, missing), strict=True):
            found[key] = held = CachedSegment(frame, by)
            self._cache.put((*here, key), held)
        return [held for held in found.values() if held is not None]

    def _read(self, item: TablePartition, keys: Sequence[bytes]) -> list[pl.DataFrame]:
        """The frames of segments, from the store."""
        try:
            values = self._store.read(item.table.name, item.partition, list(keys))
        except StateRefusedError as error:
            self.on_refused(error)
            raise
        return [item.layout.read(segment.decode(value)) for value in values]

    def _attempt(
        self, table: str, partition: int, read: Callable[[TablePartition], Answer]
    ) -> Answer:
        """Read from a partition; again when a checkpoint has just replaced what was to be read."""
        for _ in range(_ATTEMPTS):
            before = self._published
            try:
                return read(self._here(table, partition))
            except MissingSegmentError:
                # the store has the next checkpoint, which is the state only when the event loop has come to it
                with self._publishing:
                    self._publishing.wait_for(lambda n=before: self._published != n, _WAIT_S_MAX)  # type: ignore[misc]
        raise MissingSegmentError(
            f"table {table!r}, partition {partition}: its segments change too fast to be read"
        )

    def _here(self, table: str, partition: int) -> TablePartition:
        for item in self._processor.partitions_of(table):
            if item.partition == partition:
                return item
        raise _NotHere

    def version(self, table: str) -> int:
        """Grows with each checkpoint that changed the table. KeyError: no such table."""
        return self._versions[table]

    async def changed(self, table: str, version: int) -> int:
        """Wait until the table's version is not `version`; give the new one."""
        async with self._changes:
            await self._changes.wait_for(lambda: self._versions[table] != version)
            return self._versions[table]

    def restoring(self, table: str) -> Restoring | None:
        """How far the table is in being restored; None: it is not."""
        return None if self._progress is None else self._progress.of(table)

    def published(self, checkpoint: Checkpoint) -> None:
        """A checkpoint has become the state: wake those who wait for its tables."""
        with self._publishing:
            self._published += 1
            self._publishing.notify_all()
        self._changed({change.table.name for change in checkpoint.changes})

    def reassigned(self) -> None:
        """Partitions have come or gone: wake all who wait."""
        self._changed(self._versions)

    def _changed(self, tables: Iterable[str]) -> None:
        for name in tables:
            self._versions[name] += 1
        task = asyncio.ensure_future(self._wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wake(self) -> None:
        async with self._changes:
            self._changes.notify_all()


class _NotHere(Exception):
    """This worker does not have the partition now."""


def _all(run: Run) -> list[int]:
    return list(range(len(run.heads)))


def _result(
    table: Table, partials: list[pl.DataFrame], watermark: int | None
) -> list[pl.DataFrame]:
    filled = [frame for frame in partials if len(frame)]
    if not filled:
        return []
    merged = table.merge(filled)
    if table.sessions:
        merged = table.sessions.visible(merged, watermark)
    return [table.result(merged)]

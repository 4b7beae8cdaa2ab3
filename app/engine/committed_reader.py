"""Reads tables as the last checkpoint left them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import polars as pl

from app.engine import segment
from app.engine.checkpoint import Checkpoint
from app.engine.processor import Processor
from app.engine.reader import TableInfo
from app.engine.store import MissingSegmentError, Store
from app.engine.table import WINDOW_END, WINDOW_START

_ATTEMPTS = 20


class CommittedReader:
    """The `TableReader` of one worker: its partitions, from its store."""

    def __init__(self, processor: Processor, store: Store) -> None:
        self._processor = processor
        self._store = store
        self._versions = dict.fromkeys(processor.tables, 0)
        self._changes = asyncio.Condition()
        self._tasks: set[asyncio.Future[None]] = set()

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
                window=str(table.window),
                window_size_ms=table.window.size_ms,
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

    def window(self, table: str, start_ms: int) -> pl.DataFrame:
        """All rows of one window, unsorted; empty when there is none. KeyError: no such table.

        Blocks while segments are read; may be called from any thread.
        """
        definition = self._processor.tables[table]
        frames = [
            definition.result(definition.merge(partials))
            for item in self._processor.partitions_of(table)
            if (partials := self._partials(table, item.partition, start_ms))
        ]
        return pl.concat(frames) if frames else pl.DataFrame(schema=definition.row_schema)

    def _partials(self, table: str, partition: int, pane: int) -> list[pl.DataFrame]:
        """One partition's segments of a window; looks again when a checkpoint has just replaced them."""
        for _ in range(_ATTEMPTS):
            item = next(
                (p for p in self._processor.partitions_of(table) if p.partition == partition), None
            )
            if item is None:
                return []
            keys = [key for run in item.stacks.runs.get(pane, ()) for key in run.keys(pane)]
            try:
                return [segment.decode(data) for data in self._store.read(table, partition, keys)]
            except MissingSegmentError:
                continue
        raise MissingSegmentError(
            f"table {table!r}, partition {partition}: its segments change too fast to be read"
        )

    def version(self, table: str) -> int:
        """Grows with each checkpoint that changed the table. KeyError: no such table."""
        return self._versions[table]

    async def changed(self, table: str, version: int) -> int:
        """Wait until the table's version is not `version`; give the new one."""
        async with self._changes:
            await self._changes.wait_for(lambda: self._versions[table] != version)
            return self._versions[table]

    def published(self, checkpoint: Checkpoint) -> None:
        """A checkpoint has become the state: wake those who wait for its tables."""
        for name in {change.table.name for change in checkpoint.changes}:
            self._versions[name] += 1
        task = asyncio.ensure_future(self._wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wake(self) -> None:
        async with self._changes:
            self._changes.notify_all()

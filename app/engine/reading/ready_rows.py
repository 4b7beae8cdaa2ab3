"""The rows of tables that are read by key, kept ready, so that such a read waits for no other thread.

Most calls into Polars hand their work to its pool of threads, where it stands behind what the engine is doing.
So what readers will see of a table is made with each checkpoint, in its thread, in the order of the keys' hashes;
a read looks its hash up and cuts its rows out of that. It is done for tables that have been read lately, and that are
small.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl
from polars._plr import PyDataFrame, PySeries

from app.codecs.kernel import read_only
from app.codecs.key_hash import equal_to, key_hash, key_hashes
from app.engine.language.question import Key, Rows
from app.engine.language.table import Table
from app.engine.processing.processor import Processor
from app.engine.state.stacks import Stacks
from app.engine.state.table_partition import Change, TablePartition
from app.engine.windows import WINDOW_START

_KEPT = 100
"""For so many checkpoints after the last read a table's rows are kept ready."""
_REFUSED = 100
"""For so many checkpoints a table that was too large is not tried again."""
_OPEN_SHARE = 1 / 16
"""Of the bytes that may be kept ready, what may be of open windows: their rows are made anew each time."""
_OPEN_RUNS = 4
"""So many times as much may be in the runs from which these are merged."""

ReadFrames = Callable[[TablePartition, Sequence[bytes]], list[pl.DataFrame]]
"""The partials of a table partition's segments, given the segments' keys."""


class ReadyRows:
    """Rows of one worker's tables, as the last checkpoint left them.

    read: gives committed segments. bytes_max: of all rows that are kept ready.
    """

    def __init__(self, processor: Processor, read: ReadFrames, bytes_max: int) -> None:
        self._processor = processor
        self._read = read
        self._bytes_max = bytes_max
        self._checkpoints = 0
        self._suitable = {name for name, table in processor.tables.items() if _suits(table)}
        self._asked: dict[str, int] = {}
        self._refused: dict[str, int] = {}
        self._views: dict[tuple[str, int], tuple[_View, ...]] = {}

    def find(
        self, table: Table, key: Key, partitions: Collection[int] | None = None
    ) -> list[Rows] | None:
        """A key's rows in each partition (or in those of `partitions`) that has some, the newest window first.

        None: they are not ready now, and must be read; later ones may be.
        """
        if table.name not in self._suitable or None in key:
            return None
        self._asked[table.name] = self._checkpoints
        hashed, found = key_hash(key), []
        for item in self._processor.partitions_of(table.name):
            if partitions is None or item.partition in partitions:
                view = self._view(item)
                if view is None:
                    return None
                rows = view.find(hashed, key)
                if rows is not None:
                    found.append(Rows(item.partition, rows))
        return found

    def make(self, changes: Iterable[Change]) -> None:
        """A checkpoint is in the store, and about to be the state: make rows ready. Blocks; one call at a time."""
        self._checkpoints = now = self._checkpoints + 1
        room = _Room(self._bytes_max, int(_OPEN_SHARE * self._bytes_max))
        coming = {(change.table.name, change.partition): change for change in changes}
        views: dict[tuple[str, int], tuple[_View, ...]] = {}
        for name, asked in sorted(dict(self._asked).items()):  # others may be asked for meanwhile
            if now - asked > _KEPT or now - self._refused.get(name, -_REFUSED) < _REFUSED:
                continue
            trial, made = replace(room), {}
            try:
                for item in self._processor.partitions_of(name):
                    here = (name, item.partition)
                    made[here] = self._made(item, coming.get(here), trial)
            except _NoRoomError:
                self._refused[name] = now
            else:
                room, views = trial, views | made
        self._views = views

    def _view(self, item: TablePartition) -> _View | None:
        """What is ready of the partition as it is; for a moment what will be is there as well."""
        for view in self._views.get((item.table.name, item.partition), ()):
            if view.stacks is item.stacks:
                return view
        return None

    def _made(self, item: TablePartition, change: Change | None, room: _Room) -> tuple[_View, ...]:
        """What will be ready of a partition, and what is. _NoRoomError: it is too much."""
        stacks = change.stacks if change else item.stacks
        watermark = change.meta.watermark if change else item.meta.watermark
        # what there was before it was given up and taken over again does not count
        before = [
            view
            for view in self._views.get((item.table.name, item.partition), ())
            if view.item is item
        ]
        if before and before[0].stacks is stacks:
            room.take(before[0])
            return tuple(before)
        room.look(stacks)
        last = before[0] if before else _View(item, Stacks())
        view = last.next(stacks, watermark, lambda keys: self._read(item, keys))
        room.take(view)
        return (view, *before[:1])


class _NoRoomError(Exception):
    """A table is too large to be kept ready."""


@dataclass
class _Room:
    """Bytes that are left for rows that are kept ready, and for those of open windows."""

    left: int
    left_open: int

    def look(self, stacks: Stacks) -> None:
        """Refuse at once what is surely too large, by the sizes of segments, which are compressed."""
        sizes = {pane: sum(run.size for run in runs) for pane, runs in stacks.runs.items()}
        opened = sum(sizes[pane] for pane in sizes.keys() - stacks.closed)
        if sum(sizes.values()) > self.left or opened > _OPEN_RUNS * self.left_open:
            raise _NoRoomError

    def take(self, view: _View) -> None:
        self.left -= view.size
        self.left_open -= view.open_size
        if min(self.left, self.left_open) < 0:
            raise _NoRoomError


class _Rows:
    """Result rows in the order of their keys' hashes, and the newest window of a key first."""

    def __init__(self, table: Table, rows: pl.DataFrame) -> None:
        hashes = key_hashes(rows, table.by)
        newest = -rows[WINDOW_START].to_numpy() if table.windowed else np.zeros(len(rows))
        order = np.lexsort((newest, hashes))
        self._frame = rows[order]
        self._hashes: npt.NDArray[np.uint64] = read_only(hashes[order])
        self._columns = [column._s for column in self._frame.get_columns()]
        self._keys = [self._frame[name] for name in table.by]
        self._shared = _shared(self._hashes, self._keys)
        self.size = int(rows.estimated_size()) + self._hashes.nbytes

    def find(self, hashed: np.uint64, key: Key) -> pl.DataFrame | None:
        first, end = equal_to(self._hashes, hashed)
        if hashed in self._shared:
            mine = [at for at in range(first, end) if self._has(at, key)]
            return self._frame[mine] if mine else None
        if first < end and self._has(first, key):
            return _framed([column.slice(first, end - first) for column in self._columns])
        return None

    def _has(self, at: int, key: Key) -> bool:
        return all(column[at] == part for column, part in zip(self._keys, key, strict=True))


def _framed(columns: Sequence[PySeries]) -> pl.DataFrame:
    """A frame of columns of one length, without what Polars' public classes do on the way.

    Frames give the interpreter away when they are sliced or stacked, and a busy thread takes it for milliseconds;
    these columns do so seldom, or not at all. With them a read took 15 ms at the 99th percentile under load, with
    frames 26 (docs/benchmarks.md: `point_reads`).
    """
    return pl.DataFrame._from_pydf(PyDataFrame(columns))


def _shared(hashes: npt.NDArray[np.uint64], keys: Sequence[pl.Series]) -> set[np.uint64]:
    """Hashes that several keys have."""
    different = np.zeros(max(len(hashes) - 1, 0), np.bool_)
    for column in keys:
        different |= column[1:].ne_missing(column[:-1]).to_numpy()
    return set(hashes[1:][different & (hashes[1:] == hashes[:-1])])


class _View:
    """What is ready of a table partition as `stacks` has it."""

    def __init__(self, item: TablePartition, stacks: Stacks) -> None:
        self.item = item
        self.stacks = stacks
        self._merged: dict[int, pl.DataFrame] = {}
        self._open: _Rows | None = None
        self._closed: _Rows | None = None

    @property
    def size(self) -> int:
        """Bytes in memory."""
        merged = sum(int(frame.estimated_size()) for frame in self._merged.values())
        return merged + sum(rows.size for rows in (self._open, self._closed) if rows)

    @property
    def open_size(self) -> int:
        """Of these, what is of open windows."""
        return self._open.size if self._open else 0

    def find(self, hashed: np.uint64, key: Key) -> pl.DataFrame | None:
        """The rows of a key; of its windows the open ones are the newer."""
        newer = self._open.find(hashed, key) if self._open else None
        older = self._closed.find(hashed, key) if self._closed else None
        if newer is None or older is None:
            return older if newer is None else newer
        columns = newer._df.get_columns()
        for column, behind in zip(columns, older._df.get_columns(), strict=True):
            column.append(behind)
        return _framed(columns)

    def next(
        self,
        stacks: Stacks,
        watermark: int | None,
        read: Callable[[Sequence[bytes]], list[pl.DataFrame]],
    ) -> _View:
        """The view of the stacks that follow; of a window that has only grown, only what is new is read."""
        view, table = _View(self.item, stacks), self.item.table
        for pane, runs in stacks.runs.items():
            known = self.stacks.runs.get(pane, ())
            grown = pane in self._merged and runs[: len(known)] == known
            news = runs[len(known) :] if grown else runs
            frames = [self._merged[pane]] if grown else []
            if news:
                frames += read([key for run in news for key in run.keys(pane)])
            view._merged[pane] = table.merge(frames) if news else frames[0]
        view._open = view._rows(table, watermark, view._merged.keys() - stacks.closed)
        settled = {pane: frame for pane, frame in view._merged.items() if pane in stacks.closed}
        same = self._closed and settled.keys() == self._merged.keys() & self.stacks.closed
        if same and all(self._merged[pane] is frame for pane, frame in settled.items()):
            view._closed = self._closed
        else:
            view._closed = view._rows(table, watermark, settled.keys())
        return view

    def _rows(self, table: Table, watermark: int | None, panes: Collection[int]) -> _Rows | None:
        if not panes:
            return None
        merged = pl.concat([self._merged[pane] for pane in panes])
        if table.sessions:
            merged = table.sessions.visible(merged, watermark)
        return _Rows(table, table.result(merged))


def _suits(table: Table) -> bool:
    """Whether the hash of a key can be had without a column of it."""
    kinds = [table.row_schema[name] for name in table.by]
    return all(kind == pl.String or kind == pl.Boolean or kind.is_integer() for kind in kinds)

"""The runs of each window: adding deltas, merging runs, closing windows, in bounded memory.

A window is a stack of immutable runs, merged by size classes, so that their number grows with the logarithm
of what came. Whatever is small is merged at once. What is not becomes a *build*: a new run that is made over
several checkpoints, one range of the keys' hashes after the other, and takes the place of its sources when it
is whole. A large window is closed in the same way, slice by slice; its runs stay as they are until it is
forgotten, and those of a small one become one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs.key_hash import HASH_MAX, key_hashes
from app.engine.language.table import Table
from app.engine.partials import Merged
from app.engine.sessions import LAST
from app.engine.state import segment
from app.engine.state.key_sample import KeySample, different_keys
from app.engine.state.layout import Layout
from app.engine.state.segment import Head, Run
from app.engine.state.sizes import Budget, Sizes

_LEVEL_MAX = 254
_RUNS_LEFT_ALONE = 2
_KEPT_MAX = 4
"""So many times the largest run is kept of a window at most, whatever the samples tell."""
_WORTH = 2
"""A closed window is kept as one run if that has at most one row for so many."""

ReadSegments = Callable[[list[bytes]], list[bytes]]


class Build(msgspec.Struct, frozen=True):
    """A run in the making, or a window that is being closed (`closes`).

    sources: level and sequence of the runs that it replaces. done: the hashes below are dealt with.
    dead_to: rows of sessions whose last event is not after this time are dropped.
    """

    level: int
    sequence: int
    sources: tuple[tuple[int, int], ...]
    done: int = 0
    closes: bool = False
    dead_to: int | msgspec.UnsetType = msgspec.UNSET


class _Hashed(NamedTuple):
    """Rows of one window, and the hashes of their keys (uint64[n]), in any order."""

    rows: pl.DataFrame
    hashes: npt.NDArray[np.uint64]

    def between(self, low: int, high: int) -> _Hashed:
        """The rows whose hashes are from `low` to `high`."""
        if (self.hashes[1:] >= self.hashes[:-1]).all():  # as they are in a run of several segments
            first = int(np.searchsorted(self.hashes, np.uint64(low)))
            end = int(np.searchsorted(self.hashes, np.uint64(high), "right"))
            return _Hashed(self.rows[first:end], self.hashes[first:end])
        here = (self.hashes >= low) & (self.hashes <= high)
        return _Hashed(self.rows.filter(here), self.hashes[here])


@dataclass
class Stacks:
    """What is committed: the runs of each window, and those in the making, which do not count yet.

    closed: the windows that are closed, and only kept to be read.
    """

    runs: dict[int, tuple[Run, ...]] = field(default_factory=dict)
    closed: frozenset[int] = frozenset()
    builds: dict[int, Build] = field(default_factory=dict)
    halves: dict[int, Run] = field(default_factory=dict)

    @classmethod
    def of(
        cls, heads: Mapping[bytes, bytes], closed: Iterable[int], builds: Mapping[int, Build]
    ) -> Stacks:
        """Find them from the heads of all segments."""
        stacks = cls(segment.runs_of(heads), frozenset(closed), dict(builds))
        for pane, build in builds.items():
            if build.closes:  # no run is made
                continue
            runs = stacks.runs.pop(pane, ())
            made = [
                run for run in runs if (run.level, run.sequence) == (build.level, build.sequence)
            ]
            stacks.halves[pane] = made[0] if made else Run(build.level, build.sequence, ())
            if others := tuple(run for run in runs if run not in made):
                stacks.runs[pane] = others
        return stacks

    def parted(self, panes: Collection[int]) -> tuple[Stacks, Stacks]:
        """Those of these windows, and those of the others."""
        mine, others = Stacks(), Stacks(closed=self.closed)
        for pane, runs in self.runs.items():
            (mine if pane in panes else others).runs[pane] = runs
        for pane, build in self.builds.items():
            (mine if pane in panes else others).builds[pane] = build
        for pane, half in self.halves.items():
            (mine if pane in panes else others).halves[pane] = half
        return mine, others

    def open_panes(self) -> Iterator[int]:
        """The windows that are not closed, and not being closed."""
        for pane in self.runs:
            build = self.builds.get(pane)
            if pane not in self.closed and not (build and build.closes):
                yield pane

    def segments(self) -> int:
        """How many segments there are."""
        made = sum(len(run.heads) for run in self.halves.values())
        return made + sum(len(run.heads) for runs in self.runs.values() for run in runs)


class StackUpdate:
    """What one checkpoint does to the stacks of a table partition; `stacks` is how they are then.

    `read` gives committed segments. dead_to: rows of sessions that end until then may be dropped.
    Nothing holds before the transaction has committed.
    """

    def __init__(
        self,
        committed: Stacks,
        table: Table,
        layout: Layout,
        sequence: int,
        sizes: Sizes,
        budget: Budget,
        read: ReadSegments,
        dead_to: int | None = None,
    ) -> None:
        self.puts: dict[bytes, bytes] = {}
        self.deletes: list[bytes] = []
        self.stacks = replace(
            committed,
            runs=dict(committed.runs),
            builds=dict(committed.builds),
            halves=dict(committed.halves),
        )
        self._table = table
        self._layout = layout
        self._sequence = sequence
        self._sizes = sizes
        self._budget = budget
        self._read = read
        self._dead_to = dead_to
        self._across: dict[bytes, _Hashed] = {}

    def append(self, pane: int, delta: pl.DataFrame) -> None:
        """Add a delta; runs of one size class that are small are merged with it at once."""
        level, merged = 0, Merged(delta)
        while len(same := self._free(pane, level)) + 1 >= self._sizes.fan_in:
            if sum(run.size for run in same) > self._sizes.slice_bytes:
                break
            merged = self._table.merge_pane([*self._taken(pane, same), merged.rows])
            level += 1
        run = self._written(pane, level, self._sequence, merged)
        self._add(pane, run)
        self._budget.need(int(self._sizes.merges * run.size))
        if pane not in self.stacks.builds:
            self._merge_too_much(pane)

    def close(self, pane: int, delta: pl.DataFrame | None, keep: bool) -> pl.DataFrame | None:
        """Close a small window: its merged partials. None: it is large, and closed over several checkpoints.

        keep: whether it stays readable.
        """
        self._abandon(pane)
        runs = self.stacks.runs.get(pane, ())
        if sum(run.size for run in runs) > self._sizes.slice_bytes:
            if delta is not None:
                self._add(pane, self._written(pane, 0, self._sequence, Merged(delta)))
            self.stacks.builds[pane] = Build(0, self._sequence, (), closes=True)
            return None
        frames = self._frames([key for run in runs for key in run.keys(pane)])
        if delta is not None:
            frames.append(delta)
        merged = self._table.merge_pane(frames)
        kept = None if delta is None else Merged(delta)
        if keep and _WORTH * len(merged.rows) <= sum(map(len, frames)):
            self._delete(pane, self.stacks.runs.pop(pane, ()))
            kept = merged
        if keep and kept is not None:
            self._add(pane, self._written(pane, 0, self._sequence, kept))
        self._closed(pane, keep)
        return merged.rows

    def advance(self, keep: Callable[[int], bool]) -> Iterator[pl.DataFrame]:
        """Go on with all builds as far as the budget goes; gives the merged partials of closing windows."""
        for pane in sorted(self.stacks.builds):
            while (build := self.stacks.builds.get(pane)) and self._budget.left > 0:
                merged = self._next_slice(pane, build, keep)
                if build.closes and merged is not None:
                    yield merged
            self._across.clear()

    def sweep(self) -> None:
        """Begin to merge all runs, so that dead rows are dropped; unless a merge that does so is under way."""
        for pane, runs in self.stacks.runs.items():
            build = self.stacks.builds.get(pane)
            if build is None or build.dead_to is msgspec.UNSET:
                self._abandon(pane)
                self._begin_whole(pane, runs)

    def forget(self, pane: int) -> None:
        """Drop a closed window."""
        self.stacks.closed -= {pane}
        self._delete(pane, self.stacks.runs.pop(pane, ()))

    def _closed(self, pane: int, keep: bool) -> None:
        """The window is closed: its runs stay for readers, or are dropped."""
        if keep:
            self.stacks.closed |= {pane}
        else:
            self.forget(pane)

    # -- builds ---------------------------------------------------------------------------------

    def _merge_too_much(self, pane: int) -> None:
        """Merge what is too much, or begin to if it is large: a size class that is full, or all runs.

        All of them when half of what is kept is older values of the same keys, so that it stays below twice
        the live state, and below four times where rows are of very different sizes. Two runs, and what a
        segment can hold, are left alone.
        """
        runs = self.stacks.runs[pane]
        total = sum(run.size for run in runs)
        wasteful = total >= 2 * _live(runs)
        if total <= self._sizes.slice_bytes:
            if wasteful and len(runs) > _RUNS_LEFT_ALONE and total > self._sizes.segment_bytes_max:
                top = max(run.level for run in runs)
                merged = self._table.merge_pane(self._taken(pane, runs))
                self._add(pane, self._written(pane, top, self._sequence, merged))
            return
        if wasteful:
            self._begin_whole(pane, runs)
            return
        for level in sorted({run.level for run in runs}):
            same = self._free(pane, level)
            if len(same) >= self._sizes.fan_in:
                self._begin(pane, level + 1, same)
                return

    def _begin_whole(self, pane: int, runs: Sequence[Run]) -> None:
        """Begin to merge all: one size class above the others, or that of the largest, which was made so itself."""
        largest = max(runs, key=lambda run: run.size)
        others = (run.level + 1 for run in runs if run is not largest)
        self._begin(pane, max((largest.level, *others)), runs)

    def _begin(self, pane: int, level: int, sources: Iterable[Run]) -> None:
        # never by the name of a run that is there; this update has made one at most, so that a name beside it is free
        level = min(level, _LEVEL_MAX)
        if (level, self._sequence) in ((run.level, run.sequence) for run in self.stacks.runs[pane]):
            level += 1 if level < _LEVEL_MAX else -1
        names = tuple((run.level, run.sequence) for run in sources)
        # only where all runs are merged is it sure that no other one continues a session that looks dead
        drops = self._dead_to is not None and len(names) == len(self.stacks.runs[pane])
        dead_to = self._dead_to if drops and self._dead_to is not None else msgspec.UNSET
        self.stacks.builds[pane] = Build(level, self._sequence, names, dead_to=dead_to)
        self.stacks.halves[pane] = Run(level, self._sequence, ())

    def _abandon(self, pane: int) -> None:
        """Give up a merge: the window's close, or the merge of all runs, takes its place."""
        if self.stacks.builds.pop(pane, None) is not None:
            self._delete(pane, [self.stacks.halves.pop(pane)])

    def _next_slice(
        self, pane: int, build: Build, keep: Callable[[int], bool]
    ) -> pl.DataFrame | None:
        """Deal with the next range of hashes; its merged rows."""
        sources = [
            run
            for run in self.stacks.runs[pane]
            if build.closes or (run.level, run.sequence) in build.sources
        ]
        total = sum(run.size for run in sources)
        slices = -(-total // self._sizes.slice_bytes)
        low, high = build.done, min(build.done + (HASH_MAX + 1) // max(slices, 1), HASH_MAX)
        self._budget.take(max(total // max(slices, 1), 1))
        parts = [part for run in sources for part in self._within(pane, run, low, high)]
        merged = self._merged(parts, build) if parts else None
        if merged is not None and len(merged.rows) and not build.closes:
            run = self._written(pane, build.level, build.sequence, merged, self.stacks.halves[pane])
            self.stacks.halves[pane] = run
        if high < HASH_MAX:
            self.stacks.builds[pane] = msgspec.structs.replace(build, done=high + 1)
        elif build.closes:
            del self.stacks.builds[pane]
            self._closed(pane, keep(pane))
        else:
            self._finish(pane, sources)
        return merged.rows if merged is not None else None

    def _merged(self, parts: Sequence[_Hashed], build: Build) -> Merged:
        """What the parts of a slice become, less the rows that may be dropped."""
        frames, hashes = zip(*parts, strict=True)
        merged = self._table.merge_pane(frames, np.concatenate(hashes))
        if build.dead_to is msgspec.UNSET:
            return merged
        alive = merged.rows[LAST] > build.dead_to
        left = merged.hashes[alive.to_numpy()] if merged.hashes is not None else None
        return Merged(merged.rows.filter(alive), left)

    def _finish(self, pane: int, sources: list[Run]) -> None:
        """The run is whole: it takes the place of its sources."""
        del self.stacks.builds[pane]
        made = self.stacks.halves.pop(pane)
        self._delete(pane, sources)
        rest = tuple(run for run in self.stacks.runs.pop(pane) if run not in sources)
        if made.heads:
            rest = (*rest, made)
        if rest:
            self.stacks.runs[pane] = rest

    def _within(self, pane: int, run: Run, low: int, high: int) -> Iterator[_Hashed]:
        """The rows of a run whose keys' hashes are from `low` to `high`."""
        for chunk, head in enumerate(run.heads):
            if head.low > high or head.high < low:
                continue
            key = run.key(pane, chunk)
            part = self._across.pop(key, None) or self._hashed(key)
            if head.high > high:  # the next slice has more of it
                self._across[key] = part
            if head.low < low or head.high > high:
                part = part.between(low, high)
            if len(part.rows):
                yield part

    def _hashed(self, key: bytes) -> _Hashed:
        (frame,) = self._frames([key])
        return _Hashed(frame, key_hashes(frame, self._table.by))

    # -- runs -----------------------------------------------------------------------------------

    def _free(self, pane: int, level: int) -> list[Run]:
        """The runs of a size class that no build is reading."""
        build = self.stacks.builds.get(pane)
        busy = build.sources if build else ()
        return [
            run
            for run in self.stacks.runs.get(pane, ())
            if run.level == level and (run.level, run.sequence) not in busy
        ]

    def _taken(self, pane: int, runs: Iterable[Run]) -> list[pl.DataFrame]:
        """The frames of runs, which are deleted."""
        gone = list(runs)
        frames = self._frames([key for run in gone for key in run.keys(pane)])
        self._delete(pane, gone)
        rest = tuple(run for run in self.stacks.runs.pop(pane, ()) if run not in gone)
        if rest:
            self.stacks.runs[pane] = rest
        return frames

    def _frames(self, keys: list[bytes]) -> list[pl.DataFrame]:
        """Segments, those included that this update has made."""
        missing = [key for key in keys if key not in self.puts]
        found = dict(zip(missing, self._read(missing), strict=True)) if missing else {}
        values = (found[key] if key in found else self.puts[key] for key in keys)
        return [self._layout.read(segment.decode(value)) for value in values]

    def _written(
        self, pane: int, level: int, sequence: int, merged: Merged, before: Run | None = None
    ) -> Run:
        """A run of these rows, or `before` with them behind its own."""
        stored, hashes = self._layout.write(merged.rows).rechunk(), merged.hashes
        if hashes is None:
            hashes = key_hashes(stored, self._table.by)
        values = segment.encode(stored, hashes, self._sizes.segment_bytes_max)
        first = before or Run(level, sequence, ())
        run = first.grown([Head.of(value) for value in values], KeySample.of(hashes))
        for number, value in enumerate(values, len(first.heads)):
            self.puts[run.key(pane, number)] = value
        return run

    def _add(self, pane: int, run: Run) -> None:
        self.stacks.runs[pane] = (*self.stacks.runs.get(pane, ()), run)

    def _delete(self, pane: int, runs: Iterable[Run]) -> None:
        for key in (key for run in runs for key in run.keys(pane)):
            # what this very update has put was never anywhere else
            if self.puts.pop(key, None) is None:
                self.deletes.append(key)


def _live(runs: Sequence[Run]) -> int:
    """About how many bytes of runs are the newest rows of their keys, if rows are about as large as one another.

    Those of the largest are, at least; only they count when all is _KEPT_MAX times as much, for rows may not be.
    """
    largest, total = max(run.size for run in runs), sum(run.size for run in runs)
    samples = [run.sample for run in runs if run.sample]
    if total < 2 * largest or total >= _KEPT_MAX * largest or len(samples) < len(runs):
        return largest
    return max(largest, total * different_keys(samples) // sum(run.rows for run in runs))

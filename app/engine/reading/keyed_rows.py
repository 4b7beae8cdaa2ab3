"""The rows of some keys: found in the segments by hash, and merged for all keys and partitions in one go.

Each call into Polars gives the interpreter away, and waits to get it back: under load that takes far longer
than its work on a few rows, so there are few such calls, however many keys and partitions there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from app.engine.language.table import PARTITION, Table
from app.engine.reading.segment_cache import CachedSegment


@dataclass(frozen=True)
class Held:
    """What one partition has: windows, each with a segment that may hold some of the keys."""

    partition: int
    watermark: int | None
    segments: Sequence[tuple[int, CachedSegment]]


def keyed_rows(
    table: Table, keys: pl.DataFrame, hashes: npt.NDArray[np.uint64], held: Sequence[Held]
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Each partition's result rows of these keys; the newest window of a key comes first.

    hashes: of the keys, each once.
    """
    if table.sessions is None:
        yield from _together(table, keys, hashes, held)
        return
    for one in held:  # each partition hides what is gone by its own watermark
        partials = _partials(hashes, [one])
        if partials is not None:
            merged = table.merge([_only(partials.drop(PARTITION), keys)])
            yield one.partition, table.result(table.sessions.visible(merged, one.watermark))


def _together(
    table: Table, keys: pl.DataFrame, hashes: npt.NDArray[np.uint64], held: Sequence[Held]
) -> Iterator[tuple[int, pl.DataFrame]]:
    partials = _partials(hashes, held)
    if partials is None:
        return
    merged = _only(table.merge_in_order(partials), keys)
    rows = table.result(merged)
    numbers, starts, counts = np.unique(
        merged[PARTITION].to_numpy(), return_index=True, return_counts=True
    )
    for number, start, count in zip(numbers, starts, counts, strict=True):
        yield int(number), rows[int(start) : int(start + count)]


def _partials(hashes: npt.NDArray[np.uint64], held: Sequence[Held]) -> pl.DataFrame | None:
    """The partials whose keys have one of these hashes: by partition, then by hash, the newest window first."""
    frames: list[pl.DataFrame] = []
    places, whiches, panes, partitions, begin = [], [], [], [], 0
    for one in held:
        for pane, segment in one.segments:
            which, at = segment.positions(hashes)
            if len(at):
                frames.append(segment.frame)
                places.append(at + begin)
                whiches.append(which)
                panes.append(np.full(len(at), pane))
                partitions.append(np.full(len(at), one.partition, np.int32))
                begin += len(segment.frame)
    if not frames:
        return None
    numbers = np.concatenate(partitions)
    order = np.lexsort((-np.concatenate(panes), np.concatenate(whiches), numbers))
    # to gather once from all frames is far quicker than to gather from each
    found = pl.concat(frames)[np.concatenate(places)[order]]
    return found.insert_column(len(found.columns), pl.Series(PARTITION, numbers[order]))


def _only(rows: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    """Without rows of other keys that share a hash with one of these."""
    wanted = set(_tuples(keys, keys.columns))
    if all(key in wanted for key in _tuples(rows, keys.columns)):  # not so where a NaN is one
        return rows
    return rows.join(keys, on=keys.columns, how="semi", nulls_equal=True, maintain_order="left")


def _tuples(frame: pl.DataFrame, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(frame[name].to_list() for name in columns), strict=True)

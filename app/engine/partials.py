"""Partial aggregates of the same key, reduced to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs.hash_groups import HashGroups, Reduce, hash_groups
from app.codecs.key_hash import key_hashes

_GROUPS_IN_CACHE = 20_000
"""With more than so many groups, a table of them no longer fits the processor's caches."""
_GROUP = "_group"


class Merged(NamedTuple):
    """One row per key. hashes: uint64[n], of their keys, by which they are ordered; None: there are too few to."""

    rows: pl.DataFrame
    hashes: npt.NDArray[np.uint64] | None = None


def merge_partials(
    partials: pl.DataFrame,
    keys: Sequence[str],
    merges: Sequence[pl.Expr],
    *,
    hashed: Sequence[str] | None = None,
    hashes: npt.NDArray[np.uint64] | None = None,
) -> Merged:
    """Reduce partials by key. keys: what rows must have in common; merges: what becomes of their other columns.

    Many different keys are sorted by their hashes, so that the rows of a group are neighbours, which are reduced
    without a table of all groups that no cache holds. hashed: the keys that this is done by, if the others are the
    same in nearly all rows. hashes: uint64[n], of these, if they are known.
    """
    if len(partials) > _GROUPS_IN_CACHE:
        partials = partials.rechunk()
        if hashes is None:
            hashes = key_hashes(partials, hashed or keys)
        groups = _groups(partials, keys, hashes)
        if groups is not None:
            reduced = _reduced(partials, groups, keys, merges)
            return Merged(reduced.select(partials.columns), groups.hashes)
    return Merged(partials.group_by(keys).agg(merges))


def _groups(
    rows: pl.DataFrame, keys: Sequence[str], hashes: npt.NDArray[np.uint64]
) -> HashGroups | None:
    """The rows of each key. None: it would not pay, or keys that differ have one hash."""
    different: int = pl.Series(hashes).approx_n_unique()  # type: ignore[assignment]
    if different <= _GROUPS_IN_CACHE:
        return None
    groups = hash_groups(hashes)
    held = rows.select(keys)
    again, before = held[groups.order[groups.others]], held[groups.order[groups.others - 1]]
    same = (again.get_column(key).eq_missing(before.get_column(key)).all() for key in keys)
    return groups if all(same) else None


def _reduced(
    rows: pl.DataFrame, groups: HashGroups, keys: Sequence[str], merges: Sequence[pl.Expr]
) -> pl.DataFrame:
    """One row per group, in their order."""
    columns, others = [], []
    for merge in merges:
        column = _reduced_column(rows, groups, merge)
        if column is None:
            others.append(merge)
        else:
            columns.append(column)
    reduced = rows.select(keys)[groups.order[groups.starts]].with_columns(columns)
    if not others:
        return reduced
    number = np.zeros(len(rows), np.uint32)
    number[groups.starts] = 1
    # not told that they are in order: Polars would then make a series of each group, which takes twice the time
    numbered = rows[groups.order].with_columns(
        pl.Series(_GROUP, np.cumsum(number, dtype=np.uint32))
    )
    rest = numbered.group_by(_GROUP, maintain_order=True).agg(others)
    return reduced.hstack(rest.drop(_GROUP))


def _reduced_column(rows: pl.DataFrame, groups: HashGroups, merge: pl.Expr) -> pl.Series | None:
    """A column of `_reduced`; None: it is no sum, minimum or maximum of plain numbers."""
    if merge.meta.has_multiple_outputs() or (name := merge.meta.output_name()) not in rows.columns:
        return None
    values, column = rows.get_column(name), pl.col(name)
    if values.dtype not in (pl.Int64, pl.Float64) or values.null_count():
        return None
    plain: dict[Reduce, pl.Expr] = {"sum": column.sum(), "min": column.min(), "max": column.max()}
    for how, expression in plain.items():
        if merge.meta.eq(expression):
            return pl.Series(name, groups.reduce(values.to_numpy(), how))
    return None

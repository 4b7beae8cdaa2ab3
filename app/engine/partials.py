"""Partial aggregates of the same key, reduced to one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs.hash_groups import HashGroups, hash_groups
from app.codecs.key_hash import key_hashes

_GROUPS_IN_CACHE = 20_000
"""With more than so many groups, a table of them no longer fits the processor's caches."""
_GROUP = "_group"
_REDUCES: dict[pl.DataType, tuple[np.ufunc, ...]] = {
    pl.Int64(): (np.add, np.minimum, np.maximum),
    pl.Float64(): (np.add, np.fmin, np.fmax),
}
"""What numpy has for a sum, a minimum and a maximum of neighbours; Polars' `group_by` takes longer.

As in Polars, a NaN is neither the least nor the largest where there is another number.
"""


def merge_partials(
    partials: pl.DataFrame, keys: Sequence[str], merges: Sequence[pl.Expr]
) -> pl.DataFrame:
    """One row per key. keys: what rows must have in common; merges: what becomes of their other columns.

    A row that stands alone stays as it is. Many different keys are sorted by their hashes, so that the rows
    of a group are neighbours, which are reduced without a table of all groups that no cache holds.
    """
    if len(partials) > _GROUPS_IN_CACHE:
        partials = partials.rechunk()
        found = _groups(partials, keys)
        if found is not None:
            reduced = _reduced(partials, found, keys, merges)
            return pl.concat([partials[found.alone], reduced.select(partials.columns)])
    return partials.group_by(keys).agg(merges)


def _groups(rows: pl.DataFrame, keys: Sequence[str]) -> HashGroups | None:
    """The rows that are alone with their key, and the others by groups.

    None: it would not pay, or keys that differ have one hash.
    """
    hashes = key_hashes(rows, keys)
    different: int = pl.Series(hashes).approx_n_unique()  # type: ignore[assignment]
    if different <= _GROUPS_IN_CACHE:
        return None
    found = hash_groups(hashes)
    same_keys = rows.select(keys)[found.several].select(
        pl.all_horizontal(pl.col(key).eq_missing(pl.col(key).shift(1)) for key in keys).alias("_")
    )
    same_groups = found.groups[1:] == found.groups[:-1]
    return None if (same_keys.to_series().to_numpy()[1:] < same_groups).any() else found


def _reduced(
    rows: pl.DataFrame, found: HashGroups, keys: Sequence[str], merges: Sequence[pl.Expr]
) -> pl.DataFrame:
    """One row per group, in their order."""
    starts = np.flatnonzero(np.diff(found.groups, prepend=np.uint32(0)))
    columns, others = [], []
    for merge in merges:
        column = _reduced_column(rows, found.several, starts, merge)
        if column is None:
            others.append(merge)
        else:
            columns.append(column)
    reduced = rows.select(keys)[found.several[starts]].with_columns(columns)
    if not others:
        return reduced
    # not told that they are in order: Polars would then make a series of each group, which takes twice the time
    several = rows[found.several].with_columns(pl.Series(_GROUP, found.groups))
    rest = several.group_by(_GROUP, maintain_order=True).agg(others)
    return reduced.hstack(rest.drop(_GROUP))


def _reduced_column(
    rows: pl.DataFrame,
    several: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    merge: pl.Expr,
) -> pl.Series | None:
    """A column of `_reduced`; None: numpy cannot do it."""
    if merge.meta.has_multiple_outputs() or (name := merge.meta.output_name()) not in rows.columns:
        return None
    values, column = rows.get_column(name), pl.col(name)
    if values.dtype not in _REDUCES or values.null_count():
        return None
    plain = (column.sum(), column.min(), column.max())
    for reduce, expression in zip(_REDUCES[values.dtype], plain, strict=True):
        if merge.meta.eq(expression):
            with np.errstate(over="ignore", invalid="ignore"):  # infinities add up to what they do
                return pl.Series(name, reduce.reduceat(values.to_numpy()[several], starts))
    return None

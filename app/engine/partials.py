"""Partial aggregates of the same key, reduced to one."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from app.codecs.hash_groups import hash_groups
from app.codecs.key_hash import key_hashes

_GROUPS_IN_CACHE = 20_000
"""With more than so many groups, a table of them no longer fits the processor's caches."""
_GROUP = "_group"


def merge_partials(
    partials: pl.DataFrame, keys: Sequence[str], merges: Sequence[pl.Expr]
) -> pl.DataFrame:
    """One row per key. keys: what rows must have in common; merges: what becomes of their other columns.

    A row that stands alone stays as it is. Many different keys are sorted by their hashes, so that the rows
    of a group are neighbours: each group is then looked up in a table of all of them while it is still in the cache.
    """
    if len(partials) > _GROUPS_IN_CACHE:
        partials = partials.rechunk()
        alone, several = _apart(partials, keys)
        if several is not None:
            reduced = (
                several.group_by(_GROUP, maintain_order=True)
                .agg(pl.col(keys).first(), *merges)
                .select(partials.columns)
            )
            return pl.concat([alone, reduced])
    return partials.group_by(keys).agg(merges)


def _apart(rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The rows that are alone with their key, and the others, each group together and with its number.

    None: it would not pay, or keys that differ have one hash.
    """
    hashes = key_hashes(rows, keys)
    different: int = pl.Series(hashes).approx_n_unique()  # type: ignore[assignment]
    if different <= _GROUPS_IN_CACHE:
        return rows, None
    found = hash_groups(hashes)
    several, groups = rows[found.several], found.groups
    same_keys = several.select(
        pl.all_horizontal(pl.col(key).eq_missing(pl.col(key).shift(1)) for key in keys).alias("_")
    )
    if (same_keys.to_series().to_numpy()[1:] < (groups[1:] == groups[:-1])).any():
        return rows, None
    # not told that they are in order: Polars would then make a series of each group, which takes twice the time
    return rows[found.alone], several.with_columns(pl.Series(_GROUP, groups))

"""The last value of a column."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from app.engine.aggregates.aggregate import Aggregate
from app.engine.batch_columns import OFFSET, TIME


@dataclass(frozen=True, eq=False)
class Latest(Aggregate):
    """The value of the event with the largest event time, and of those at one time, with the largest offset.

    Nulls do not count; the latest of nothing is null. Where partitions tie, the larger value wins.
    """

    def partial(self, name: str) -> list[pl.Expr]:
        values = self.values()
        time = pl.when(values.is_not_null()).then(pl.col(TIME))
        offset = pl.when(values.is_not_null()).then(pl.col(OFFSET))
        order = (time, offset)
        return [
            values.sort_by(*order).last().alias(name),
            time.max().alias(f"{name}.time"),
            offset.sort_by(*order).last().alias(f"{name}.offset"),
        ]

    def single(self, name: str) -> list[pl.Expr]:
        values = self.values()
        return [
            values.alias(name),
            pl.when(values.is_not_null()).then(pl.col(TIME)).alias(f"{name}.time"),
            pl.when(values.is_not_null()).then(pl.col(OFFSET)).alias(f"{name}.offset"),
        ]

    def merge(self, name: str) -> list[pl.Expr]:
        order = (f"{name}.time", f"{name}.offset", name)
        return [pl.col(column).sort_by(*order).last() for column in (name, *order[:2])]

    def result(self, name: str) -> pl.Expr:
        return pl.col(name)

    def may_be_null(self, optional: Collection[str]) -> bool:
        return self.where is not None or self.column in optional

    def result_type(self, schema: Mapping[str, pl.DataType]) -> pl.DataType:
        return self.comparable_type(schema)


def latest(column: str, *, where: pl.Expr | None = None) -> Latest:
    """The last value of a column by event time, over all events or those that meet the condition."""
    return Latest(column, where)

"""The arithmetic mean of a column."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from app.engine.aggregates.aggregate import Aggregate


@dataclass(frozen=True, eq=False)
class Mean(Aggregate):
    """Kept as a sum and a count; nulls do not count; the mean of nothing is null.

    Of a boolean it is the share of true.
    """

    def partial(self, name: str) -> list[pl.Expr]:
        values = self.values()
        return [
            values.cast(pl.Float64).sum().alias(f"{name}.sum"),
            values.count().cast(pl.Int64).alias(f"{name}.count"),
        ]

    def single(self, name: str) -> list[pl.Expr]:
        values = self.values().cast(pl.Float64)
        return [
            values.fill_null(0.0).alias(f"{name}.sum"),
            values.is_not_null().cast(pl.Int64).alias(f"{name}.count"),
        ]

    def merge(self, name: str) -> list[pl.Expr]:
        return [pl.col(f"{name}.sum").sum(), pl.col(f"{name}.count").sum()]

    def result(self, name: str) -> pl.Expr:
        count = pl.col(f"{name}.count")
        return pl.when(count > 0).then(pl.col(f"{name}.sum") / count).alias(name)

    def may_be_null(self, optional: Collection[str]) -> bool:
        return self.where is not None or self.column in optional

    def result_type(self, schema: Mapping[str, pl.DataType]) -> pl.DataType:
        if self.column is None or schema[self.column] != pl.Boolean():
            self.numeric_type(schema)
        return pl.Float64()


def mean(column: str, *, where: pl.Expr | None = None) -> Mean:
    """Average a column, over all events or those that meet the condition."""
    return Mean(column, where)

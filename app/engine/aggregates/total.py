"""The sum of a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from app.engine.aggregates.aggregate import Aggregate


@dataclass(frozen=True, eq=False)
class Total(Aggregate):
    """Nulls add nothing; the sum of nothing is 0. Integers are 64 bits wide."""

    def partial(self, name: str) -> list[pl.Expr]:
        return [self.values().sum().alias(name)]

    def single(self, name: str) -> list[pl.Expr]:
        return [self.values().fill_null(0).alias(name)]

    def merge(self, name: str) -> list[pl.Expr]:
        return [pl.col(name).sum()]

    def result(self, name: str) -> pl.Expr:
        return pl.col(name)

    def result_type(self, schema: Mapping[str, pl.DataType]) -> pl.DataType:
        return self.numeric_type(schema)


def total(column: str, *, where: pl.Expr | None = None) -> Total:
    """Sum a column, over all events or those that meet the condition."""
    return Total(column, where)

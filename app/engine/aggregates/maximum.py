"""The largest value of a column."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from app.engine.aggregates.aggregate import Aggregate


@dataclass(frozen=True, eq=False)
class Maximum(Aggregate):
    """Nulls do not count; the maximum of nothing is null. Numbers, texts and times can be compared."""

    def partial(self, name: str) -> list[pl.Expr]:
        return [self.values().max().alias(name)]

    def single(self, name: str) -> list[pl.Expr]:
        return [self.values().alias(name)]

    def merge(self, name: str) -> list[pl.Expr]:
        return [pl.col(name).max()]

    def result(self, name: str) -> pl.Expr:
        return pl.col(name)

    def may_be_null(self, optional: Collection[str]) -> bool:
        return self.where is not None or self.column in optional

    def result_type(self, schema: Mapping[str, pl.DataType]) -> pl.DataType:
        return self.comparable_type(schema)


def maximum(column: str, *, where: pl.Expr | None = None) -> Maximum:
    """The largest value of a column, over all events or those that meet the condition."""
    return Maximum(column, where)

"""How many events there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from app.engine.aggregates.aggregate import EVENTS, Aggregate


@dataclass(frozen=True, eq=False)
class Count(Aggregate):
    """Without a condition it is the count that every partial carries anyway."""

    def partial(self, name: str) -> list[pl.Expr]:
        return [] if self.where is None else [self.where.sum().cast(pl.Int64).alias(name)]

    def single(self, name: str) -> list[pl.Expr]:
        where = self.where
        return [] if where is None else [where.fill_null(False).cast(pl.Int64).alias(name)]

    def merge(self, name: str) -> list[pl.Expr]:
        return [] if self.where is None else [pl.col(name).sum()]

    def result(self, name: str) -> pl.Expr:
        return (pl.col(EVENTS) if self.where is None else pl.col(name)).alias(name)

    def result_type(self, schema: Mapping[str, pl.DataType]) -> pl.DataType:
        return pl.Int64()


def count(*, where: pl.Expr | None = None) -> Count:
    """Count the events, or those that meet the condition."""
    return Count(where=where)

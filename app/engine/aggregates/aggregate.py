"""What an aggregate is: three Polars expressions, so that every aggregate is merged by one `group_by`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

EVENTS = "_events"
"""The hidden column of every partial: how many events it holds."""


@dataclass(frozen=True, eq=False)
class Aggregate(ABC):
    """An aggregate of one column, over the events that meet `where`.

    `partial` reduces events to named partial columns, `merge` reduces partials to partials (it must be
    associative and commutative, and leave one that stands alone as it is), `result` turns merged partials
    into the value that readers see.
    The names that `partial` and `merge` give must begin with `name`.
    """

    column: str | None = None
    where: pl.Expr | None = None

    @abstractmethod
    def partial(self, name: str) -> list[pl.Expr]:
        """Expressions over the events of one group."""

    def single(self, name: str) -> list[pl.Expr] | None:
        """What `partial` gives where each event is a group of its own, as expressions over rows.

        None: it is not told; such events are grouped like all others, which costs more.
        """
        return None

    @abstractmethod
    def merge(self, name: str) -> list[pl.Expr]:
        """Expressions over the partials of one group."""

    @abstractmethod
    def result(self, name: str) -> pl.Expr:
        """An expression over one row of merged partials, named `name`."""

    @abstractmethod
    def result_type(self, schema: Mapping[str, pl.DataType]) -> pl.DataType:
        """The type of the result, given the types of the event's fields.

        ValueError: the column has a type that cannot be aggregated so.
        """

    def may_be_null(self, optional: Collection[str]) -> bool:
        """Whether the result can be null; optional: the event fields that can."""
        return False

    def columns_read(self) -> set[str]:
        """The event fields that the partial reads."""
        read = set() if self.column is None else {self.column}
        return read if self.where is None else read | set(self.where.meta.root_names())

    def values(self) -> pl.Expr:
        """The column, null where the condition is not met."""
        assert self.column is not None
        values = pl.col(self.column)
        return values if self.where is None else pl.when(self.where).then(values)

    def comparable_type(self, schema: Mapping[str, pl.DataType]) -> pl.DataType:
        """The type of the column, whose values must be such as can be compared."""
        assert self.column is not None
        column_type = schema[self.column]
        if column_type.is_nested():
            raise ValueError(
                f"{type(self).__name__.lower()}({self.column!r}) needs values that can be compared, "
                f"not {column_type}"
            )
        return column_type

    def numeric_type(self, schema: Mapping[str, pl.DataType]) -> pl.DataType:
        """The type of the column, which must be a number."""
        assert self.column is not None
        column_type = schema[self.column]
        if not column_type.is_numeric():
            raise ValueError(
                f"{type(self).__name__.lower()}({self.column!r}) needs a number, and the field is {column_type}"
            )
        return column_type

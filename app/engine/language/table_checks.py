"""What of a table's definition cannot work, told before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import polars as pl

from app.engine.aggregates import Aggregate
from app.engine.duration import milliseconds
from app.engine.windows import WINDOW_END, WINDOW_START, Window
from app.events.event import Event, optional, schema

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


class TableDefinitionError(TypeError):
    """A table is defined in a way that cannot work; the message says what to change."""


@dataclass(frozen=True)
class TableChecks:
    """The checks of one table's definition. Each raises TableDefinitionError."""

    name: str
    source: type[Event]
    by: Sequence[str]
    columns: Mapping[str, Aggregate]

    def check_name(self) -> None:
        """It is part of topics' names."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise TableDefinitionError(
                f"table name {self.name!r}: use lower-case letters, digits and underscores, as in 'revenue_per_minute'"
            )

    def check_key(self) -> None:
        """It is of different fields of the source."""
        if not self.by or len(set(self.by)) != len(self.by):
            raise self._error("by= needs one or several different fields of the source")
        self._check_fields("by=", self.by)

    def check_columns(self) -> None:
        """Each is an aggregate of fields that there are, with a name of its own."""
        fields = schema(self.source)
        for name, aggregate in self.columns.items():
            if not isinstance(aggregate, Aggregate):
                raise self._error(
                    f"column {name!r} is {aggregate!r}; it must be an aggregate such as count()"
                )
            if name.startswith("_") or name in (*self.by, WINDOW_START, WINDOW_END):
                raise self._error(
                    f"column {name!r} has a name that is taken or reserved; choose another one"
                )
            self._check_fields(f"column {name!r}", aggregate.columns_read())
            self._check_condition(name, aggregate.where)
            try:
                aggregate.result_type(fields)
            except ValueError as error:
                raise self._error(f"column {name!r}: {error}") from None
        if not self.columns:
            raise self._error(
                "columns= is empty; give at least one aggregate, as in {'events': count()}"
            )

    def ttl_ms(self, ttl: str | int | None, window: Window | None) -> int | None:
        """How long a key is kept (ms); None: for good."""
        if ttl is None:
            return None
        if window is not None:
            raise self._error(
                "ttl= is for tables without a window=; how long a closed window is kept says its keep="
            )
        try:
            ttl_ms = milliseconds(ttl)
        except ValueError as error:
            raise self._error(f"ttl=: {error}") from None
        if ttl_ms < 1:
            raise self._error("ttl= must be at least 1ms")
        return ttl_ms

    def check_emit(self, emit: type[Event], given: Mapping[str, pl.DataType]) -> None:
        """Its fields can be filled from the table's rows, whose columns are `given`."""
        if WINDOW_START not in given:
            raise self._error("emit= needs a window=: derived events are made when a window closes")
        kinds = schema(emit)
        unset = optional(self.source)
        nullable = unset & set(self.by) | {
            name for name, item in self.columns.items() if item.may_be_null(unset)
        }
        for info in msgspec.structs.fields(emit):
            field, kind, found = info.name, kinds[info.name], given.get(info.name)
            if found is None and not info.required:
                continue
            if found is None:
                raise self._error(
                    f"emit={emit.__name__} has the field {field!r}, which the table does not give; "
                    f"it gives: {', '.join(given)}"
                )
            if found != kind and not (found.is_integer() and kind.is_float()):
                raise self._error(
                    f"emit={emit.__name__}: field {field!r} is {kind}, but the table gives {found}"
                )
            if field in nullable - optional(emit):
                raise self._error(
                    f"emit={emit.__name__}: field {field!r} can be null here; declare it as `| None`"
                )

    def _check_condition(self, column: str, where: pl.Expr | None) -> None:
        if where is None:
            return
        try:
            kind = pl.DataFrame(schema=schema(self.source)).select(where).to_series().dtype
        except pl.exceptions.PolarsError as error:
            raise self._error(f"column {column!r}: where= cannot work: {error}") from None
        if kind != pl.Boolean:
            raise self._error(f"column {column!r}: where= must be a condition, not {kind}")

    def _check_fields(self, what: str, names: Iterable[str]) -> None:
        fields = schema(self.source)
        for name in names:
            if name not in fields:
                raise self._error(
                    f"{what} names {name!r}, which is no field of {self.source.__name__}; "
                    f"there are: {', '.join(fields)}"
                )

    def _error(self, message: str) -> TableDefinitionError:
        return TableDefinitionError(f"table {self.name!r}: {message}")

"""The Polars type of a column whose values have a given Python type."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl
from msgspec import inspect as kinds

_SCALARS: dict[type[kinds.Type], pl.DataType] = {
    kinds.NoneType: pl.Null(),
    kinds.BoolType: pl.Boolean(),
    kinds.IntType: pl.Int64(),
    kinds.FloatType: pl.Float64(),
    kinds.StrType: pl.String(),
    kinds.BytesType: pl.Binary(),
    kinds.ByteArrayType: pl.Binary(),
    kinds.DateTimeType: pl.Datetime("ms", "UTC"),
    kinds.DateType: pl.Date(),
    kinds.TimeType: pl.Time(),
    kinds.TimeDeltaType: pl.Duration("ms"),
    kinds.UUIDType: pl.String(),
    kinds.DecimalType: pl.String(),
}
_LISTS = (kinds.ListType, kinds.SetType, kinds.FrozenSetType, kinds.VarTupleType)
_STRUCTS = (kinds.StructType, kinds.DataclassType, kinds.TypedDictType, kinds.NamedTupleType)
_BUILTIN_TYPES = (bytes, bytearray)


def series_maker(annotation: Any) -> tuple[pl.DataType, Callable[[str, list[Any]], pl.Series]]:
    """The Polars type for values of a Python type, and how to make a series of a list of them.

    A type without a columnar equal (a mapping, a union, Any) becomes its JSON text. Datetimes are
    milliseconds in UTC; one without a time zone is taken as UTC.
    """
    kind = _plain(kinds.type_info(annotation))
    dtype = _dtype(kind)
    if dtype is None:
        return pl.String(), _json_series
    if isinstance(kind, kinds.DateTimeType):
        return dtype, _datetime_series
    simple = isinstance(kind, tuple(_SCALARS)) and not isinstance(
        kind, (kinds.UUIDType, kinds.DecimalType)
    )

    def make(name: str, values: list[Any]) -> pl.Series:
        if not simple:
            values = [_builtins(value) for value in values]
        return pl.Series(name, values, dtype)

    return dtype, make


def _plain(kind: kinds.Type) -> kinds.Type:
    """The type without `| None` and metadata."""
    while isinstance(kind, kinds.Metadata):
        kind = kind.type
    if isinstance(kind, kinds.UnionType):
        others = [item for item in kind.types if not isinstance(item, kinds.NoneType)]
        if len(others) == 1:
            return _plain(others[0])
    return kind


def _dtype(kind: kinds.Type) -> pl.DataType | None:
    """The Polars type, or None where there is none."""
    kind = _plain(kind)
    if isinstance(kind, _LISTS):
        inner = _dtype(kind.item_type)
        return None if inner is None else pl.List(inner)
    if isinstance(kind, _STRUCTS):
        fields = {field.name: _dtype(field.type) for field in kind.fields}
        if not fields or None in fields.values():
            return None
        return pl.Struct({name: dtype for name, dtype in fields.items() if dtype is not None})
    if isinstance(kind, (kinds.LiteralType, kinds.EnumType)):
        values = (
            kind.values
            if isinstance(kind, kinds.LiteralType)
            else [item.value for item in kind.cls]
        )
        if all(isinstance(value, str) for value in values):
            return pl.String()
        return pl.Int64() if all(isinstance(value, int) for value in values) else None
    return _SCALARS.get(type(kind))


def _builtins(value: Any) -> Any:
    return msgspec.to_builtins(
        value, builtin_types=(*_BUILTIN_TYPES, datetime), enc_hook=str, str_keys=True
    )


def _json_series(name: str, values: list[Any]) -> pl.Series:
    texts = [None if value is None else msgspec.json.encode(value).decode() for value in values]
    return pl.Series(name, texts, pl.String())


def _datetime_series(name: str, values: list[datetime | None]) -> pl.Series:
    in_utc = [
        value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value
        for value in values
    ]
    return pl.Series(name, in_utc, pl.Datetime("ms", "UTC"))

"""A key, or a window, of the whole group as JSON; each worker can be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import polars as pl

from app.engine.language.parts_missing import PartsMissingError
from app.engine.language.reads import TableReads
from app.engine.reading.reader import TableInfo
from app.web.rows_query import QueryError

Reads = Callable[[str], TableReads]
"""The reads of a table by its name, of the whole group."""


def whole(found: PartsMissingError | None) -> dict[str, Any]:
    """Whether an answer is whole, and what is missing of it."""
    missing = {} if found is None else found.missing
    return {
        "whole": not missing,
        "missing": [{"partition": number, "reason": why} for number, why in missing.items()],
    }


def key(info: TableInfo, text: str) -> Any:
    """The key that stands in an address: a text as it is; anything else, and a key of several columns, as JSON.

    Times are milliseconds since 1970. QueryError: it is no key of the table.
    """
    kinds = [info.schema[name] for name in info.keys]
    if kinds == [pl.String()]:
        return text
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise QueryError(f"key {text!r} is no JSON; a key is {_form(info)}") from None
    values = value if len(kinds) > 1 else [value]
    if not isinstance(values, list) or len(values) != len(kinds):
        raise QueryError(f"key {text!r} has another form; a key is {_form(info)}")
    found = tuple(_typed(value, kind) for value, kind in zip(values, kinds, strict=True))
    return found if len(kinds) > 1 else found[0]


def _typed(value: Any, kind: pl.DataType) -> Any:
    if kind.is_float() and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind.is_temporal() and isinstance(value, int):
        return (
            pl.Series([value], dtype=pl.Datetime("ms")).cast(pl.Datetime("ms", "UTC")).cast(kind)[0]
        )
    return value


def _form(info: TableInfo) -> str:
    form = ", ".join(f"{name} ({info.schema[name]})" for name in info.keys)
    return f"[{form}], a JSON list" if len(info.keys) > 1 else f"{form}, as JSON"

"""The columns of what workers send each other."""

from __future__ import annotations

import polars as pl

from app.engine.language.question import WINDOWS, Question
from app.engine.reading.reader import TableInfo
from app.engine.windows import WINDOW_END, WINDOW_START

_BOUNDS = {WINDOW_START: pl.Int64(), WINDOW_END: pl.Int64()}


def keys_schema(info: TableInfo) -> pl.Schema:
    """Of the keys that are asked for."""
    return pl.Schema({name: info.schema[name] for name in info.keys})


def answer_schema(info: TableInfo, question: Question) -> pl.Schema:
    """Of the frames of an answer."""
    if question.keys is None and question.window is None:
        return WINDOWS
    names = (*info.keys, *info.columns)
    bounds = {} if info.window_size_ms is None else _BOUNDS
    return pl.Schema({**bounds, **{name: info.schema[name] for name in names}})

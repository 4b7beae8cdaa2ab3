"""Columns to JSON: an object per row."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs import json_writer_kernel as kernel
from app.codecs.kernel import SLACK, read_only
from app.codecs.texts import Texts

_KINDS: dict[Any, int] = {
    pl.String: kernel.TEXT,
    pl.Int64: kernel.INTEGER,
    pl.Float64: kernel.FLOAT,
    pl.Boolean: kernel.BOOLEAN,
}
_BYTES_MAX = {
    kernel.INTEGER: kernel.INTEGER_BYTES_MAX,
    kernel.FLOAT: kernel.FLOAT_BYTES_MAX,
    kernel.BOOLEAN: kernel.BOOLEAN_BYTES_MAX,
}
_NULL_BYTES = 4


def json_texts(frame: pl.DataFrame) -> Texts:
    """The JSON of each row, fields in the order of the columns. A float that is no number becomes null."""
    if all(kind in _KINDS for kind in frame.dtypes):
        return _Writer(frame).texts()
    lines = frame.write_ndjson().encode()
    buffer = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(buffer == ord("\n"))
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])[: len(ends)]
    return Texts.within(buffer, starts, ends - starts)


@dataclass
class _Column:
    """What the kernel gets to know of a column; `owners` keep the memory alive."""

    kind: int
    data: int
    bytes_max: int
    lengths: int = 0
    nulls: int = 0
    owners: list[Any] = field(default_factory=list)


class _Writer:
    """Writes one frame of plain columns."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._count = len(frame)
        self._columns = [_column(series) for series in frame.get_columns()]
        labels = [msgspec.json.encode(name) + b":" for name in frame.columns]
        labels = [(b"," if number else b"{") + label for number, label in enumerate(labels)]
        self._labels = np.frombuffer(b"".join(labels), np.uint8)
        self._label_ends = np.cumsum([0, *map(len, labels)], dtype=np.int64)

    def texts(self) -> Texts:
        count = self._count
        start, length = np.empty(count, np.int64), np.empty(count, np.int64)
        row_bytes = len(self._labels) + 1
        size = count * row_bytes + sum(column.bytes_max for column in self._columns) + SLACK
        out = np.empty(size, np.uint8)
        kernel.write_json(
            self._numbers("kind"),
            self._numbers("data"),
            self._numbers("lengths"),
            self._numbers("nulls"),
            self._labels,
            read_only(self._label_ends),
            out,
            start,
            length,
        )
        return Texts.within(out, start, length)

    def _numbers(self, name: str) -> npt.NDArray[np.int64]:
        return read_only(np.array([getattr(column, name) for column in self._columns], np.int64))


def _column(series: pl.Series) -> _Column:
    kind, count = _KINDS[series.dtype], len(series)
    if kind == kernel.TEXT:
        texts = Texts.of(series)
        used = int(np.maximum(texts.length, 0).sum())
        return _texts(texts, kernel.ESCAPED_BYTES_MAX * used + (2 + _NULL_BYTES) * count)
    nulls, owners = 0, []
    if series.null_count():
        mask = series.is_null().to_numpy().astype(np.uint8)
        nulls, owners = mask.ctypes.data, [mask]
        series = series.fill_null(False if kind == kernel.BOOLEAN else 0)
    values = np.ascontiguousarray(series.to_numpy())
    return _Column(
        kind, values.ctypes.data, _BYTES_MAX[kind] * count, nulls=nulls, owners=[values, *owners]
    )


def _texts(texts: Texts, bytes_max: int) -> _Column:
    address, length = np.ascontiguousarray(texts.address), np.ascontiguousarray(texts.length)
    return _Column(
        kernel.TEXT,
        address.ctypes.data,
        bytes_max,
        lengths=length.ctypes.data,
        owners=[address, length, texts.owner],
    )

"""Values as people read them."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from app.engine.reading.restore_progress import Restoring
from app.web import cell_text
from app.web.cell_text import Cell


@pytest.mark.parametrize(
    ("values", "dtype", "shown"),
    [
        ([1234567, None], pl.Int64(), [("1,234,567", ""), ("–", "null")]),
        ([1234.5, 0.125], pl.Float64(), [("1,234.50", ""), ("0.12", "0.125")]),
        ([0.03125, 1.0], pl.Float64(), [("0.0312", "0.03125"), ("1.0000", "")]),
        ([1e-7, 0.0], pl.Float64(), [("1.0000e-07", ""), ("0.0000e+00", "")]),
        ([3e20], pl.Float64(), [("3.0000e+20", "")]),
        ([float("nan"), float("inf")], pl.Float64(), [("nan", ""), ("inf", "")]),
        (["x", ""], pl.String(), [("x", ""), ('""', "empty text")]),
        (["y" * 40], pl.String(), [("y" * 40, "y" * 40)]),
        ([True], pl.Boolean(), [("true", "")]),
        ([["a", "b"]], pl.List(pl.String()), [('["a", "b"]', "")]),
    ],
)
def test_cells(values: list[Any], dtype: pl.DataType, shown: list[tuple[str, str]]) -> None:
    assert cell_text.cells(pl.Series(values, dtype=dtype), plain=False) == shown


def test_keys_have_no_separators() -> None:
    assert cell_text.cells(pl.Series([1234567]), plain=True) == [Cell("1234567")]


def test_times_have_their_milliseconds_on_hover() -> None:
    column = pl.Series([61_000, 61_005], dtype=pl.Int64()).cast(pl.Datetime("ms", "UTC"))
    assert cell_text.cells(column, plain=False) == [
        ("1970-01-01 00:01:01", "61000 ms"),
        ("1970-01-01 00:01:01.005", "61005 ms"),
    ]


def test_windows() -> None:
    assert cell_text.window(0, 60_000).text == "1970-01-01 00:00:00 – 00:01:00"
    late = cell_text.window(86_340_000, 86_400_000)
    assert late.text == "1970-01-01 23:59:00 – 1970-01-02 00:00:00"
    assert late.hint == "86340000 ms to 86400000 ms (UTC)"
    assert cell_text.window(2**62, 2**62 + 1).text == f"{2**62} ms – {2**62 + 1} ms"


@pytest.mark.parametrize(
    ("seconds", "left"),
    [
        (None, ""),
        (0.0, ", about 0 s left"),
        (7.2, ", about 8 s left"),
        (99.0, ", about 99 s left"),
        (100.0, ", about 2 min left"),
        (5_940.0, ", about 99 min left"),
        (6_000.0, ", about 2 h left"),
        (36_000.0, ", about 10 h left"),
    ],
)
def test_how_long_a_restore_will_take(seconds: float | None, left: str) -> None:
    progress = Restoring("sales", (0,), 1_600, 4_000, 0, 0.0, seconds)
    assert cell_text.restoring(progress) == (
        f"restoring, 40 %{left}",
        "1,600 of 4,000 changelog offsets",
    )

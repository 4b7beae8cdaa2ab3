"""Rows as JSON, read back by msgspec."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.codecs.json_writer import json_texts

SCHEMA = {
    "text": pl.String,
    'odd "name\\\n': pl.String,
    "i": pl.Int64,
    "f": pl.Float64,
    "b": pl.Boolean,
}

decimals = st.builds(
    lambda whole, places: whole / 10**places, st.integers(-(10**15), 10**15), st.integers(0, 15)
)
floats = st.none() | st.floats(allow_nan=False, allow_infinity=False) | decimals
texts = (
    st.none()
    | st.text(max_size=40)
    | st.text(alphabet='"\\\n\t\x00\x1f\x7fé€😀\u2028a', max_size=40)
)
rows = st.lists(
    st.tuples(
        texts,
        texts,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        floats,
        st.none() | st.booleans(),
    ),
    max_size=20,
)


def written(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return [msgspec.json.decode(text or b"") for text in json_texts(frame).to_list()]


@settings(deadline=None)
@given(rows, st.integers(0, 3))
@example([("", None, 0, -0.0, True), (None, "x", -1, 5e-324, False)], 0)
@example([("a", "b", 1, float(2**53), True), ("a", "b", 1, 0.1 + 0.2, True)], 0)
def test_rows_are_read_back_as_they_were(values: list[tuple[Any, ...]], skipped: int) -> None:
    frame = pl.DataFrame(values, schema=SCHEMA, orient="row")[skipped:]
    found, expected = written(frame), frame.to_dicts()
    assert found == expected
    assert repr(found) == repr(expected)  # -0.0 is not 0.0, and 1.0 is not 1


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (100.0, "100.0"),
        (0.05, "0.05"),
        (-12.5, "-12.5"),
        (1e-3, "0.001"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-4, "0.0001"),
        (1e-5, "1e-5"),
        (9e15, "9000000000000000.0"),
        (1e16, "1e16"),
        (-1.5e300, "-1.5e300"),
        (5e-324, "5e-324"),
    ],
)
def test_plain_decimals_are_short(number: float, text: str) -> None:
    assert json_texts(pl.DataFrame({"f": [number]})).to_list() == [f'{{"f":{text}}}'.encode()]


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | decimals, min_size=1))
@example([2.0**power for power in range(-1074, 1024)])
def test_floats_are_as_short_as_python_writes_them(numbers: list[float]) -> None:
    texts = json_texts(pl.DataFrame({"f": numbers})).to_list()
    found = [Decimal((text or b"").decode()[5:-1]) for text in texts]
    assert found == [Decimal(repr(number)) for number in numbers]


def test_what_is_no_number_is_null() -> None:
    frame = pl.DataFrame({"f": [math.nan, 1.5, math.inf, -math.inf, None]})
    assert [row["f"] for row in written(frame)] == [None, 1.5, None, None, None]


def test_other_types_are_left_to_polars() -> None:
    frame = pl.DataFrame(
        {
            "t": ["a\nb\u2028", "c"],
            "list": [[1, 2], []],
            "at": [datetime(2026, 1, 2, tzinfo=UTC)] * 2,
        }
    )
    found = written(frame)
    assert [row["t"] for row in found] == ["a\nb\u2028", "c"]
    assert [row["list"] for row in found] == [[1, 2], []]


def test_no_rows() -> None:
    assert written(pl.DataFrame(schema=SCHEMA)) == []

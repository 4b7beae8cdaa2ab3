"""Byte strings by their addresses, against the values of the column itself."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codecs.texts import Texts


@settings(deadline=None)
@given(
    st.lists(st.lists(st.none() | st.text(max_size=30), max_size=6), max_size=4), st.integers(0, 5)
)
def test_values_of_a_column(chunks: list[list[str | None]], skipped: int) -> None:
    parts = [pl.Series("text", chunk, pl.String) for chunk in [[], *chunks]]
    series = pl.concat(parts, rechunk=False)[skipped:]
    expected = [None if text is None else text.encode() for text in series]
    assert Texts.of(series).to_list() == expected
    assert Texts.of(series.cast(pl.Binary)).to_list() == expected


def test_texts_from_several_buffers() -> None:
    long = [f"{number}-{'x' * 200}" for number in range(20_000)]  # more than one buffer of views
    series = pl.Series(long).append(pl.Series(["short", "y" * 50])).filter([True, False] * 10_001)
    assert Texts.of(series).to_list() == [text.encode() for text in series]


def test_what_is_no_text() -> None:
    with pytest.raises(TypeError, match="Int64"):
        Texts.of(pl.Series([1, 2]))


def test_nulls() -> None:
    assert Texts.nulls(3).to_list() == [None, None, None]

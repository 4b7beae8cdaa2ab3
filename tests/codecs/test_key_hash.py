"""The hash of keys against plain Python; filters never deny what they hold."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from app.codecs.key_hash import HASH_MAX, any_held, equal_to, key_filter, key_hash, key_hashes

MASK = (1 << 64) - 1
KINDS: dict[str, tuple[pl.DataType, st.SearchStrategy[Any]]] = {
    "text": (pl.String(), st.text(max_size=30)),
    "number": (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    "float": (pl.Float64(), st.floats()),
    "flag": (pl.Boolean(), st.booleans()),
}
rows = st.lists(
    st.tuples(*(st.none() | values for _, values in KINDS.values())), min_size=1, max_size=20
)


def mixed(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def plain_hash(row: tuple[Any, ...]) -> int:
    out = 0
    for value, (kind, _) in zip(row, KINDS.values(), strict=True):
        start = (out + 0x9E3779B97F4A7C15) & MASK
        if kind == pl.String():
            data = b"" if value is None else value.encode()
            state = (start + (-1 if value is None else len(data))) & MASK
            whole = len(data) // 8 * 8
            for at in range(0, whole, 8):
                state = mixed(state ^ int.from_bytes(data[at : at + 8], "little"))
            out = mixed(state ^ int.from_bytes(data[whole:], "little"))
            continue
        if value is None:
            word = 0x6E756C6C
        elif kind == pl.Float64():
            number = math.nan if math.isnan(value) else value + 0.0
            word = int.from_bytes(struct.pack("<d", number), "little")
        else:
            word = int(value) & MASK
        out = mixed((start + word) & MASK)
    return out


@given(rows)
def test_equals_plain_python(keys: list[tuple[Any, ...]]) -> None:
    schema = {name: kind for name, (kind, _) in KINDS.items()}
    frame = pl.DataFrame(keys, schema=schema, orient="row")
    assert key_hashes(frame, list(KINDS)).tolist() == [plain_hash(key) for key in keys]


@given(rows)
def test_keys_that_polars_groups_have_one_hash(keys: list[tuple[Any, ...]]) -> None:
    schema = {name: kind for name, (kind, _) in KINDS.items()}
    frame = pl.DataFrame(keys + keys[::-1], schema=schema, orient="row")
    frame = pl.concat([frame, frame.with_columns(float=-pl.col("float") + 0.0)])
    hashed = frame.with_columns(hash=key_hashes(frame, list(KINDS)))
    groups = hashed.group_by(list(KINDS)).agg(pl.col("hash").n_unique())
    assert groups["hash"].to_list() == [1] * len(groups)


def test_times_and_lists_are_keys_too() -> None:
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 1)]
    frame = pl.DataFrame({"at": moments, "tags": [["a", "b"], ["a,b"], ["a", "b"]]})
    for keys in (["at"], ["tags"], ["at", "tags"]):
        first, second, third = key_hashes(frame, keys).tolist()
        assert first == third != second


def test_slices_of_a_column_hash_as_the_whole() -> None:
    frame = pl.DataFrame({"text": [f"key {number}" * (number % 5) for number in range(100)]})
    whole = key_hashes(frame, ["text"])
    assert np.array_equal(key_hashes(frame[30:70], ["text"]), whole[30:70])


def test_hashes_are_spread_evenly() -> None:
    frame = pl.DataFrame({"number": range(100_000)})
    counts = np.bincount(key_hashes(frame, ["number"]) >> np.uint64(60), minlength=16)
    assert counts.min() > 0.9 * 100_000 / 16
    assert counts.max() < 1.1 * 100_000 / 16


@given(st.lists(st.integers(0, MASK), max_size=200))
def test_filters_hold_what_was_put_in(values: list[int]) -> None:
    hashes = np.array(values, np.uint64)
    data = key_filter(hashes)
    for number, value in enumerate(values):
        asked = hashes[number : number + 1]
        assert any_held(asked, value, value, data)
        assert value == 0 or not any_held(asked, 0, value - 1, data)
        assert value == HASH_MAX or not any_held(asked, value + 1, HASH_MAX, data)
    assert not any_held(hashes[:0], 0, HASH_MAX, data)


def test_filters_deny_most_of_the_rest() -> None:
    hashes = key_hashes(pl.DataFrame({"number": range(20_000)}), ["number"])
    near = np.sort(hashes)[:10_000]  # as in a segment: one range of hashes
    data = key_filter(near)
    assert len(data) == 12_500
    others = np.setdiff1d(near + np.uint64(1), near)
    held = sum(any_held(others[n : n + 1], 0, HASH_MAX, data) for n in range(len(others)))
    assert held < 0.03 * len(others)


@given(
    st.lists(
        st.tuples(st.text(max_size=30), st.integers(-(2**63), 2**63 - 1), st.booleans()), min_size=1
    )
)
def test_one_key_has_the_hash_that_columns_of_it_have(keys: list[tuple[str, int, bool]]) -> None:
    schema = {"text": pl.String(), "number": pl.Int64(), "flag": pl.Boolean()}
    frame = pl.DataFrame(keys, schema=schema, orient="row")
    assert [key_hash(key) for key in keys] == key_hashes(frame, list(schema)).tolist()


@given(st.lists(st.integers(0, 12)), st.integers(0, 12))
def test_where_equal_hashes_are(values: list[int], wanted: int) -> None:
    held = np.sort(np.array(values, np.uint64))
    held.flags.writeable = False
    first, end = equal_to(held, np.uint64(wanted))
    assert [at for at, value in enumerate(held) if value == wanted] == list(range(first, end))

"""Merging many partials: by sorting as by grouping."""

from __future__ import annotations

import warnings
from random import Random

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from app.codecs.key_hash import key_hashes
from app.engine import partials as module
from app.engine.partials import merge_partials

MERGES = [pl.col("count").sum(), pl.col("largest").max()]
KEYS = ["pane", "user", "rate"]
FLOATS = [None, float("nan"), 0.0, -0.0, 1.5]


def partials(seed: int, users: int) -> pl.DataFrame:
    """Frames one after the other, whose keys have nulls, and numbers that are equal but not alike."""
    random = Random(seed)
    rows = [
        {
            "pane": random.randrange(2) * 10,
            "user": random.choice([None, f"user-{random.randrange(users)}"]),
            "rate": random.choice(FLOATS),
            "count": random.randrange(1, 5),
            "largest": random.choice([None, random.random()]),
        }
        for _ in range(random.randrange(300, 3000))
    ]
    return pl.concat(
        pl.DataFrame(rows[start::3], schema_overrides={"largest": pl.Float64}) for start in range(3)
    )


def check(rows: pl.DataFrame) -> None:
    expected = rows.group_by(KEYS).agg(MERGES)
    for known in (None, module.key_hashes(rows, KEYS)):
        found, hashes = merge_partials(rows, KEYS, MERGES, hashes=known)
        assert_frame_equal(found, expected, check_row_order=False)
        if hashes is not None:
            assert np.array_equal(hashes, module.key_hashes(found, KEYS))
            assert (hashes[1:] >= hashes[:-1]).all()


@pytest.mark.parametrize("users", [1, 30, 1000, 100_000])
@settings(max_examples=5)
@given(seed=st.integers(0, 1 << 32))
def test_sorting_gives_what_grouping_gives(users: int, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_GROUPS_IN_CACHE", 20)
        check(partials(seed, users))


@settings(max_examples=5)
@given(seed=st.integers(0, 1 << 32))
def test_keys_that_share_a_hash_stay_apart(seed: int) -> None:
    def weak(frame: pl.DataFrame, keys: list[str]) -> npt.NDArray[np.uint64]:
        return key_hashes(frame, keys) % np.uint64(100)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_GROUPS_IN_CACHE", 20)
        patch.setattr(module, "key_hashes", weak)
        check(partials(seed, users=1000))


@settings(max_examples=5)
@given(seed=st.integers(0, 1 << 32))
def test_only_some_of_the_keys_are_hashed(seed: int) -> None:
    """Where the others are not the same in all rows, it is found, and the rows are grouped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_GROUPS_IN_CACHE", 20)
        rows = partials(seed, users=1000)
        for given in (rows, rows.with_columns(pane=7)):
            expected = given.group_by(KEYS).agg(MERGES)
            found, hashes = merge_partials(given, KEYS, MERGES, hashed=KEYS[1:])
            assert_frame_equal(found, expected, check_row_order=False)
            if hashes is not None:
                assert np.array_equal(hashes, key_hashes(found, KEYS[1:]))
                assert (hashes[1:] >= hashes[:-1]).all()
        assert hashes is not None


def test_as_many_as_are_sorted_without_being_told_to() -> None:
    users = [f"user-{number % 60_000}" for number in range(100_000)]
    rows = pl.DataFrame(
        {"pane": 0, "user": users, "rate": 1.0, "count": 1, "largest": np.arange(100_000.0)}
    )
    check(rows)
    assert merge_partials(rows, KEYS, MERGES).hashes is not None


def test_what_numpy_cannot_do_is_left_to_polars() -> None:
    """Several columns by one expression; and infinities, of which no warning is given."""
    rows = pl.DataFrame({"key": [f"{number % 60_000}" for number in range(100_000)]}).with_columns(
        first=pl.lit(1), second=pl.lit(2), third=pl.Series([float("inf"), float("-inf")] * 50_000)
    )
    merges = [pl.col("first", "second").sum(), pl.col("third").sum()]
    expected = rows.group_by("key").agg(merges)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = merge_partials(rows, ["key"], merges).rows
    assert_frame_equal(found, expected, check_row_order=False)

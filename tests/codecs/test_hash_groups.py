"""Equal hashes are found, against a count of them, however they are spread."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from app.codecs.hash_groups import hash_groups

WORDS = st.integers(0, (1 << 64) - 1)


def check(hashes: npt.NDArray[np.uint64]) -> None:
    found = hash_groups(hashes)
    # equal ones stay in the order in which they came
    assert found.order.tolist() == sorted(range(len(hashes)), key=hashes.tolist().__getitem__)
    counts = sorted(Counter(hashes.tolist()).items())
    assert found.hashes.tolist() == [one for one, _ in counts]
    starts = list(accumulate((count for _, count in counts), initial=0))[:-1]
    assert found.starts.tolist() == starts
    assert found.others.tolist() == sorted(set(range(len(hashes))) - set(starts))


@settings(deadline=None)
@given(st.lists(WORDS | st.integers(0, 9) | st.integers(0, 9).map(lambda n: n << 60), max_size=300))
def test_any(hashes: list[int]) -> None:
    check(np.array(hashes, np.uint64))


@pytest.mark.parametrize("shift", [0, 40, 63])
def test_many_that_are_spread_evenly_or_begin_alike(shift: int) -> None:
    random = np.random.default_rng(shift)
    hashes = random.integers(0, 1 << 64, 50_000, np.uint64, endpoint=False) >> np.uint64(shift)
    check(np.concatenate([hashes, hashes[::3]]))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(width=32))
    )
)
def test_numbers_are_reduced_group_by_group(rows: list[tuple[int, int, float]]) -> None:
    """Whole numbers wrap around, as in Polars; a NaN counts only where there is nothing else, but in a sum."""
    frame = pl.DataFrame(
        rows, {"hash": pl.UInt64, "whole": pl.Int64, "real": pl.Float64}, orient="row"
    )
    found = hash_groups(frame["hash"].to_numpy())
    for name in ("whole", "real"):
        grouped = frame.group_by("hash").agg(
            pl.col(name).sum().alias("sum"),
            pl.col(name).min().alias("min"),
            pl.col(name).max().alias("max"),
        )
        expected = grouped.sort("hash")
        for how in ("sum", "min", "max"):
            reduced = pl.Series(how, found.reduce(frame[name].to_numpy(), how))
            assert_series_equal(reduced, expected[how])

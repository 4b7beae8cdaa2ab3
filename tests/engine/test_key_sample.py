"""How many keys there are is told exactly of few, and nearly of many."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.state.key_sample import KeySample, different_keys

hashes = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 20), max_size=30)


@given(sets=st.lists(hashes, min_size=1, max_size=5))
def test_few_keys_are_counted(sets: list[list[int]]) -> None:
    samples = [KeySample.of(np.array(found, np.uint64)) for found in sets]
    assert different_keys(samples) == len(set().union(*sets))


@pytest.mark.parametrize("shared", [0, 0.5, 1])
@pytest.mark.parametrize("sizes", [(100_000, 100_000), (400, 100_000), (3000,) * 12])
def test_many_keys_are_counted_nearly(sizes: tuple[int, ...], shared: float) -> None:
    """Some of the keys of each set are those of the largest one."""
    random = np.random.default_rng([7, len(sizes), int(10 * shared)])
    largest = random.integers(0, 1 << 64, max(sizes), np.uint64)
    sets = []
    for size in sizes:
        known = int(shared * size)
        mine = np.concatenate(
            [largest[:known], random.integers(0, 1 << 64, size - known, np.uint64)]
        )
        sets.append(np.repeat(random.permutation(mine), 2))
    expected = len(np.unique(np.concatenate(sets)))
    assert different_keys([KeySample.of(found) for found in sets]) == pytest.approx(
        expected, rel=0.2
    )


@pytest.mark.parametrize("sizes", [(100, 100, 5000), (5000, 5000), (400,) * 20, (1,)])
def test_a_run_that_is_written_in_slices_has_the_sample_of_its_whole(
    sizes: tuple[int, ...],
) -> None:
    found = np.sort(np.random.default_rng(3).integers(0, 1 << 64, sum(sizes), np.uint64))
    slices = np.split(found, np.cumsum(sizes)[:-1])
    whole = reduce(KeySample.followed_by, map(KeySample.of, slices))
    assert different_keys([whole]) == pytest.approx(len(found), rel=0.2)
    assert different_keys([whole, KeySample.of(found)]) == different_keys([KeySample.of(found)])
    assert len(whole.hashes) <= 1024


@pytest.mark.parametrize("rank", [0, 1, 5, 300])
def test_a_key_that_comes_very_often_does_not_hide_the_others(rank: int) -> None:
    found = np.sort(np.random.default_rng(5).integers(0, 1 << 64, 4000, np.uint64))
    hashes = np.concatenate([found, np.repeat(found[rank], 700)])
    assert different_keys([KeySample.of(hashes)]) == pytest.approx(4000, rel=0.2)

"""Equal hashes are found, against a count of them, however they are spread."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codecs.hash_groups import hash_groups

WORDS = st.integers(0, (1 << 64) - 1)


def check(hashes: npt.NDArray[np.uint64]) -> None:
    found = hash_groups(hashes)
    counts = Counter(hashes.tolist())
    assert hashes[found.alone].tolist() == sorted(one for one, n in counts.items() if n == 1)
    several = hashes[found.several].tolist()
    assert several == sorted(one for one in hashes.tolist() if counts[one] > 1)
    number = {one: place for place, one in enumerate(dict.fromkeys(several), 1)}
    assert found.groups.tolist() == [number[one] for one in several]
    # equal ones stay in the order in which they came
    assert all(
        first < second
        for first, second, one, other in zip(
            found.several, found.several[1:], several, several[1:], strict=False
        )
        if one == other
    )


@settings(deadline=None)
@given(st.lists(WORDS | st.integers(0, 9) | st.integers(0, 9).map(lambda n: n << 60), max_size=300))
def test_any(hashes: list[int]) -> None:
    check(np.array(hashes, np.uint64))


@pytest.mark.parametrize("shift", [0, 40, 63])
def test_many_that_are_spread_evenly_or_begin_alike(shift: int) -> None:
    random = np.random.default_rng(shift)
    hashes = random.integers(0, 1 << 64, 50_000, np.uint64, endpoint=False) >> np.uint64(shift)
    check(np.concatenate([hashes, hashes[::3]]))

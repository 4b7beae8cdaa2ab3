"""Hashes are found at all their places in a sorted array, however many there are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.codecs.key_hash import HASH_MAX, found_hashes

hashes = st.integers(0, 6) | st.sampled_from([1 << 63, HASH_MAX])


@given(wanted=st.sets(hashes), held=st.lists(hashes, max_size=30))
def test_all_places_of_each_hash(wanted: set[int], held: list[int]) -> None:
    ordered = sorted(wanted)
    which, places = found_hashes(np.array(ordered, np.uint64), np.array(sorted(held), np.uint64))
    assert list(zip(which.tolist(), places.tolist(), strict=True)) == [
        (number, place)
        for number, hash_ in enumerate(ordered)
        for place, one in enumerate(sorted(held))
        if one == hash_
    ]

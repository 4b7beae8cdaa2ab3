"""Rows are found by their keys' hashes in whatever segments they are; the cache stays within its bytes."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from app.codecs.key_hash import key_hashes
from app.engine.reading.segment_cache import CachedSegment, SegmentCache

keys = st.sampled_from([None, "", "a", "b", "c", "d"])


@given(
    segments=st.lists(st.lists(keys, max_size=8), max_size=5),
    wanted=st.sets(keys, min_size=1),
)
def test_the_rows_of_some_keys_are_found_wherever_they_are(
    segments: list[list[str | None]], wanted: set[str | None]
) -> None:
    frames = [pl.DataFrame({"key": held}, schema={"key": pl.String()}) for held in segments]
    asked = pl.DataFrame({"key": list(wanted)}, schema={"key": pl.String()})
    hashes = np.unique(key_hashes(asked, ["key"]))
    cached = [CachedSegment(frame, ["key"]) for frame in frames]
    for _ in range(2):  # with the index to be made, and made
        for held, segment in zip(segments, cached, strict=True):
            which, rows = segment.positions(hashes)
            assert sorted(rows) == [place for place, key in enumerate(held) if key in wanted]
            assert (hashes[which] == key_hashes(segment.frame[rows], ["key"])).all()


def test_what_was_not_used_for_the_longest_time_goes_first() -> None:
    def segment() -> CachedSegment:
        return CachedSegment(pl.DataFrame({"key": ["a"] * 100}), ["key"])

    cache = SegmentCache(3 * segment().size)
    for name in (b"1", b"2", b"3"):
        cache.put(("table", 0, name), segment())
    assert cache.get(("table", 0, b"1"))
    cache.put(("table", 0, b"4"), segment())
    there = [name for name in (b"1", b"2", b"3", b"4") if cache.get(("table", 0, name))]
    assert there == [b"1", b"3", b"4"]
    cache.put(("table", 0, b"large"), CachedSegment(pl.DataFrame({"key": ["a"] * 1000}), ["key"]))
    assert cache.get(("table", 0, b"large"))
    assert not cache.get(("table", 0, b"4"))

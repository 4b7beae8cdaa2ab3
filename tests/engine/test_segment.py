"""Segments: what is written is read back, within the limit, under keys that sort and never change."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from app.codecs.key_hash import key_hashes
from app.engine.state import segment
from app.engine.state.segment import Head, Run, head_bytes, runs_of
from app.engine.windows import tumbling
from tests.engine.batches import batch_of
from tests.engine.sales import Sale, sales, table

KEYS = ("shop", "region", "size")
hashes = st.integers(0, 2**64 - 1)
heads = st.builds(
    Head,
    rows=st.integers(0, 2**32 - 1),
    size=st.integers(0, 2**32 - 1),
    low=hashes,
    high=hashes,
    filter=st.binary(max_size=20),
)
runs = st.builds(
    Run, st.integers(0, 255), hashes, st.lists(heads, min_size=1, max_size=3).map(tuple)
)
panes = st.integers(-(2**63), 2**63 - 1)


@given(
    sold=st.lists(sales, min_size=1, max_size=40),
    bytes_max=st.sampled_from([12_000, 16_000, 1 << 20]),
)
def test_partials_survive_whatever_the_cut(sold: list[Sale], bytes_max: int) -> None:
    partial = table("t", KEYS, tumbling(10)).partial(batch_of(sold).frame)
    chunks = segment.encode(partial, key_hashes(partial, KEYS), bytes_max)
    assert max(map(len, chunks)) <= bytes_max
    found = pl.concat([segment.decode(chunk) for chunk in chunks])
    assert found.sort(*KEYS).equals(partial.sort(*KEYS))
    assert found.schema == partial.schema
    for chunk in chunks:
        frame, head = segment.decode(chunk), Head.of(head_bytes(b"s", chunk))
        found_hashes = key_hashes(frame, KEYS)
        assert (head.rows, head.low, head.high) == (
            len(frame),
            min(found_hashes),
            max(found_hashes),
        )
        assert all(head.may_hold(found_hashes[n : n + 1]) for n in range(len(frame)))
    ranges = [Head.of(chunk) for chunk in chunks]
    assert all(one.high >> 48 <= other.low >> 48 for one, other in pairwise(ranges))


def test_a_large_frame_is_cut_below_the_limit() -> None:
    noise = random.Random(1)
    frame = pl.DataFrame({"text": [noise.randbytes(40).hex() for _ in range(5000)]})
    chunks = segment.encode(frame, key_hashes(frame, ["text"]), 20_000)
    assert len(chunks) > 10
    assert max(map(len, chunks)) <= 20_000
    found = pl.concat([segment.decode(chunk) for chunk in chunks])
    assert found.sort("text").equals(frame.sort("text"))


def test_texts_within_lists_are_cut_too() -> None:
    noise = random.Random(1)
    tags = [[noise.randbytes(20).hex() for _ in range(3)] for _ in range(1000)]
    frame = pl.DataFrame({"tags": tags, "shop": "short"})
    chunks = segment.encode(frame, key_hashes(frame, ["tags"]), 20_000)
    assert max(map(len, chunks)) <= 20_000
    assert sum(map(len, chunks)) < 2 * 120 * len(frame)
    found = pl.concat([segment.decode(chunk) for chunk in chunks])
    assert sorted(found["tags"].to_list()) == sorted(tags)


def test_a_row_that_is_larger_stands_alone() -> None:
    noise = random.Random(1)
    sizes = [50, 2000, 50, 3000, 50]
    frame = pl.DataFrame({"text": [noise.randbytes(size).hex() for size in sizes]})
    chunks = segment.encode(frame, key_hashes(frame, ["text"]), 1000)
    found = [segment.decode(chunk) for chunk in chunks]
    assert pl.concat(found).sort("text").equals(frame.sort("text"))
    assert sum(len(chunk) > 1000 for chunk in chunks) == 2
    assert all(
        len(item) == 1 for item, chunk in zip(found, chunks, strict=True) if len(chunk) > 1000
    )


@given(windows=st.dictionaries(panes, st.sets(runs, min_size=1, max_size=4), max_size=4))
def test_runs_are_found_from_their_keys(windows: dict[int, set[Run]]) -> None:
    for pane, found in windows.items():
        distinct = {(run.level, run.sequence): run for run in found}
        windows[pane] = set(distinct.values())
    entries = [
        (run.key(pane, chunk), head_of(head))
        for pane, found in windows.items()
        for run in found
        for chunk, head in enumerate(run.heads)
    ]
    assert len(dict(entries)) == len(entries)
    random.Random(len(entries)).shuffle(entries)
    expected = {pane: tuple(sorted(found)) for pane, found in windows.items()}
    assert runs_of({b"m": b"", **dict(entries), b"o": b""}) == expected


def head_of(head: Head) -> bytes:
    """The bytes of a head, as a segment begins with them."""
    fixed = struct.pack(">IIIQQ", len(head.filter), head.rows, head.size, head.low, head.high)
    return fixed + head.filter


@given(first=st.tuples(panes, runs), second=st.tuples(panes, runs))
def test_keys_sort_by_window_level_sequence_and_chunk(
    first: tuple[int, Run], second: tuple[int, Run]
) -> None:
    entries = [
        (pane, run.level, run.sequence, chunk, key)
        for pane, run in {first, second}
        for chunk, key in enumerate(run.keys(pane))
    ]
    assert [entry[-1] for entry in sorted(entries)] == sorted(entry[-1] for entry in entries)

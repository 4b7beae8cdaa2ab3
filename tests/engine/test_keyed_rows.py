"""The rows of some keys, against a plain fold: of any segments and partitions, and of keys that share a hash."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.codecs import key_hash
from app.engine.aggregates import count, total
from app.engine.language.table import Table
from app.engine.reading import segment_cache
from app.engine.reading.keyed_rows import Held, keyed_rows
from app.engine.reading.segment_cache import CachedSegment
from app.engine.windows import tumbling
from tests.engine.sales import Sale

TABLE = Table(
    "sales",
    source=Sale,
    by="price",
    window=tumbling(10),
    columns={"sales": count(), "size": total("size")},
)
prices = st.sampled_from([None, 0.0, 1.5, 2.5, math.nan])
segments = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.lists(st.tuples(prices, st.integers(0, 9)))),
    max_size=6,
)


LONE = key_hash.key_hashes(pl.DataFrame({"price": [1.5]}), ["price"])[0]


def few_hashes(frame: pl.DataFrame, keys: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Hashes that all keys but one share."""
    return (key_hash.key_hashes(frame, keys) == LONE).astype(np.uint64)


def text(price: float | None) -> str:
    """A name of a price by which NaN equals itself."""
    return str(price)


@pytest.mark.parametrize("shared", [False, True], ids=["a hash each", "shared hashes"])
@given(held=segments, wanted=st.sets(prices, min_size=1))
def test_the_rows_of_keys(
    shared: bool,
    held: list[tuple[int, int, list[tuple[float | None, int]]]],
    wanted: set[float | None],
) -> None:
    hashes_of = few_hashes if shared else key_hash.key_hashes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_cache, "key_hashes", hashes_of)
        of_partition = defaultdict(list)
        expected: dict[tuple[int, int, str], list[int]] = defaultdict(list)
        for partition, window, sales in held:
            frame = pl.DataFrame(
                {
                    "price": [price for price, _ in sales],
                    "size": [size for _, size in sales],
                    "_time": [10 * window] * len(sales),
                },
                schema={"price": pl.Float64(), "size": pl.Int64(), "_time": pl.Int64()},
            )
            if sales:
                partial = TABLE.partial(frame).select(list(TABLE.partial_schema))
                of_partition[partition].append((10 * window, CachedSegment(partial, ["price"])))
            for price, size in sales:
                if text(price) in set(map(text, wanted)):
                    expected[partition, 10 * window, text(price)].append(size)
        keys = pl.DataFrame({"price": list(wanted)}, schema={"price": pl.Float64()})
        found = list(
            keyed_rows(
                TABLE,
                keys,
                np.unique(hashes_of(keys, ["price"])),
                [Held(number, None, parts) for number, parts in sorted(of_partition.items())],
            )
        )
    rows = [(number, row) for number, frame in found for row in frame.to_dicts()]
    assert sorted(
        (number, row["window_start"], text(row["price"]), row["sales"], row["size"])
        for number, row in rows
    ) == sorted((*where, len(sizes), sum(sizes)) for where, sizes in expected.items())
    starts = defaultdict(list)
    for number, row in rows:
        starts[number, text(row["price"])].append(row["window_start"])
    assert all(of_key == sorted(of_key, reverse=True) for of_key in starts.values())

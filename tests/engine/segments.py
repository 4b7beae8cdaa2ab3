"""Small segments, for tests of what comes in several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import polars as pl
from hypothesis import strategies as st

from app.engine.state import segment
from app.engine.state.sizes import Sizes


@contextmanager
def segments_of(rows_max: int) -> Iterator[None]:
    """Cut segments after so many rows, as large ones are cut by bytes."""
    encode = segment.encode

    def cut(frame: pl.DataFrame, hashes: npt.NDArray[np.uint64], bytes_max: int) -> list[bytes]:
        order = np.argsort(hashes)
        parts = [order[first : first + rows_max] for first in range(0, len(order), rows_max)]
        return [data for part in parts for data in encode(frame[part], hashes[part], bytes_max)]

    with patch.object(segment, "encode", cut):
        yield


small_sizes = st.builds(
    Sizes,
    segment_bytes_max=st.sampled_from([8 << 10, 512 << 10]),
    fan_in=st.integers(2, 4),
    merge_bytes_max=st.sampled_from([1, 5000, 32 << 20]),
    slice_bytes=st.sampled_from([1500, 8000, 20_000, 4 << 20]),
)
"""Of state so small that a handful of events brings merges about, and closes in slices."""

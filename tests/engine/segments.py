"""Small segments, for tests of what comes in several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import polars as pl

from app.engine import segment


@contextmanager
def segments_of(rows_max: int) -> Iterator[None]:
    """Cut segments after so many rows, as large ones are cut by bytes."""
    encode = segment.encode

    def cut(frame: pl.DataFrame, bytes_max: int) -> list[bytes]:
        return [data for part in frame.iter_slices(rows_max) for data in encode(part, bytes_max)]

    with patch.object(segment, "encode", cut):
        yield

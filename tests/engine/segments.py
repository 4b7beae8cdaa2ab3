"""Small segments, for tests of what comes in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import polars as pl

from app.codecs.key_hash import key_hashes
from app.engine import segment


@contextmanager
def segments_of(rows_max: int) -> Iterator[None]:
    """Cut segments after so many rows, as large ones are cut by bytes."""
    encode = segment.encode

    def cut(frame: pl.DataFrame, keys: Sequence[str], bytes_max: int) -> list[bytes]:
        ordered = frame[np.argsort(key_hashes(frame, keys))]
        parts = ordered.iter_slices(rows_max)
        return [data for part in parts for data in encode(part, keys, bytes_max)]

    with patch.object(segment, "encode", cut):
        yield

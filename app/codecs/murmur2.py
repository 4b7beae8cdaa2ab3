"""The partition of a key, as Kafka's Java client and librdkafka's murmur2_random place it."""

import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs.kernel import read_only
from app.codecs.murmur2_kernel import assign


def partitions(keys: pl.Series, partition_count: int) -> pl.Series:
    """The partition (Int32) of each key (String or Binary, n rows).

    Raises ValueError for a null, which has no partition of its own, and for a count below 1.
    """
    if keys.null_count():
        raise ValueError("a null key has no partition of its own")
    array = keys.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, ends, texts = array.buffers()
    offsets = np.frombuffer(ends, np.int64, len(keys) + 1, 8 * array.offset)
    return pl.Series(keys.name, _assign(texts or b"", offsets, partition_count))


def partition(key: bytes, partition_count: int) -> int:
    """The partition of one key. Raises ValueError for a count below 1."""
    return int(_assign(key, np.array([0, len(key)], np.int64), partition_count)[0])


def _assign(
    texts: bytes, ends: npt.NDArray[np.int64], partition_count: int
) -> npt.NDArray[np.int32]:
    if partition_count < 1:
        raise ValueError(f"a topic has at least 1 partition, not {partition_count}")
    out = np.empty(len(ends) - 1, np.int32)
    assign(np.frombuffer(texts, np.uint8), read_only(ends), partition_count, out)
    return out

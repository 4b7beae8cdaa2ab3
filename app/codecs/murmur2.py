"""The partition of a key, as Kafka's Java client and librdkafka's murmur2_random place it."""

import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs.kernel import read_only
from app.codecs.murmur2_kernel import assign
from app.codecs.texts import Texts


def partitions(keys: pl.Series, partition_count: int) -> pl.Series:
    """The partition (Int32) of each key (String or Binary, n rows).

    Raises ValueError for a null, which has no partition of its own, and for a count below 1.
    """
    if keys.null_count():
        raise ValueError("a null key has no partition of its own")
    out = np.empty(len(keys), np.int32)
    place(Texts.of(keys), partition_count, out)
    return pl.Series(keys.name, out)


def partition(key: bytes, partition_count: int) -> int:
    """The partition of one key. Raises ValueError for a count below 1."""
    text = Texts.within(
        np.frombuffer(key, np.uint8), np.zeros(1, np.int64), np.array([len(key)], np.int64)
    )
    out = np.empty(1, np.int32)
    place(text, partition_count, out)
    return int(out[0])


def place(keys: Texts, partition_count: int, out: npt.NDArray[np.int32]) -> None:
    """Write the partition of each key to `out`; where it is a null, `out` stays as it is.

    Raises ValueError for a count below 1.
    """
    if partition_count < 1:
        raise ValueError(f"a topic has at least 1 partition, not {partition_count}")
    assign(read_only(keys.address), read_only(keys.length), partition_count, out)

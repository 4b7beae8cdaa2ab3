"""Placing keys on partitions as Kafka's own clients do."""

import polars as pl
import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codecs.murmur2 import partition, partitions

# org.apache.kafka.common.utils.UtilsTest.testMurmur2
JAVA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", JAVA_VECTORS)
def test_vectors_of_the_java_client(key: bytes) -> None:
    assert partition(key, 2**31 - 1) == (JAVA_VECTORS[key] & 0x7FFFFFFF) % (2**31 - 1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=40)), st.integers(1, 1000), st.integers(0, 5))
def test_same_as_aiokafka(keys: list[str], count: int, skipped: int) -> None:
    series = pl.Series("key", keys, pl.String)[skipped:]
    expected = [(murmur2(key.encode()) & 0x7FFFFFFF) % count for key in keys[skipped:]]
    found = partitions(series, count)
    assert (found.name, found.dtype, found.to_list()) == ("key", pl.Int32, expected)
    assert partitions(series.cast(pl.Binary), count).to_list() == expected
    assert [partition(key.encode(), count) for key in keys[skipped:]] == expected


def test_keys_in_several_chunks() -> None:
    keys = pl.concat([pl.Series(["a", "b"]), pl.Series(["c" * 30])], rechunk=False)
    expected = [partition(key.encode(), 7) for key in keys]
    assert partitions(keys, 7).to_list() == expected


def test_what_has_no_partition() -> None:
    with pytest.raises(ValueError, match="null key"):
        partitions(pl.Series(["a", None]), 4)
    with pytest.raises(ValueError, match="at least 1 partition"):
        partition(b"a", 0)

"""Single records as batches: all are there, in their order, within the limit or alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codecs import record_rows
from app.codecs.compression import LZ4, NONE
from app.codecs.record_rows import Row, row_batches
from tests.codecs.record_batches import read

texts = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=10), st.none() | st.binary(max_size=20)), max_size=3)
rows = st.builds(Row, texts, texts, st.integers(0, 2**42), headers)


@settings(deadline=None)
@given(st.lists(rows, max_size=30), st.sampled_from([1, 700, 1 << 20]))
def test_every_record_is_there_in_order(records: list[Row], bytes_max: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_rows, "BATCH_BYTES_MAX", bytes_max)
        batches = list(row_batches("t", 3, iter(records)))
    assert [row for batch in batches for row in read(batch)] == [tuple(row) for row in records]
    for batch in batches:
        assert (batch.topic, batch.partition) == ("t", 3)
        assert batch.count == 1 or len(batch.payload) <= bytes_max
    if bytes_max > 700 * 30:
        assert len(batches) == bool(records)


@pytest.mark.parametrize(
    ("value", "segments", "codec"),
    [
        (b"a" * 5000, False, LZ4),
        (np.random.default_rng(3).bytes(5000), False, NONE),
        (b"a" * 100_000, False, LZ4),
        (b"a" * 5000, True, LZ4),
        (b"a" * 100_000, True, NONE),
    ],
    ids=["compressible", "not", "large", "small segment", "large segment"],
)
def test_what_compression_does_not_help_stays_as_it_is(
    value: bytes, segments: bool, codec: int
) -> None:
    (batch,) = row_batches("t", 0, [Row(b"k", value, 40, [("h", None)])], segments=segments)
    assert batch.codec == codec
    assert len(batch.payload) < len(value) + 50
    assert read(batch) == [(b"k", value, 40, [("h", None)])]

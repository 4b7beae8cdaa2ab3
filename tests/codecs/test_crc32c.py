"""The checksum of record batches, in both ways of computing it."""

from typing import Any

import numpy as np
import pytest
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codecs.crc32c_kernel import crc32c, crc32c_tables


@pytest.mark.parametrize("kernel", [crc32c, crc32c_tables], ids=["processor", "tables"])
def test_same_as_aiokafka(kernel: Any) -> None:
    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=100), st.data())
    def check(data: bytes, draw: st.DataObject) -> None:
        start = draw.draw(st.integers(0, len(data)))
        end = draw.draw(st.integers(start, len(data)))
        found = np.empty(2, np.uint32)
        buffer = np.frombuffer(data, np.uint8)
        kernel(buffer, np.array([0, start]), np.array([len(data), end]), found)
        assert found.tolist() == [calc_crc32c(data), calc_crc32c(data[start:end])]

    check()


def test_check_value_of_the_standard() -> None:
    found = np.empty(1, np.uint32)
    crc32c(np.frombuffer(b"123456789", np.uint8), np.array([0]), np.array([9]), found)
    assert found[0] == 0xE3069283

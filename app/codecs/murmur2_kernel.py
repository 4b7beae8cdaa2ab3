"""Kafka's murmur2 hash (Austin Appleby's MurmurHash2 with the seed of Kafka's Java client)."""

from typing import Any, Final

import numpy as np

from app.codecs.kernel import kernel, part
from app.codecs.words_kernel import load_byte

_SEED: Final = np.uint64(0x9747B28C)
_FACTOR: Final = np.uint64(0x5BD1E995)
_LOW: Final = np.uint64(0xFFFFFFFF)
_POSITIVE: Final = np.uint64(0x7FFFFFFF)


@part
def _hash(position: Any, length: Any) -> Any:
    """The uint32 hash of the bytes at an address."""
    value = _SEED ^ np.uint64(length)
    end = position + length
    while position + 4 <= end:
        word = np.uint64(0)
        for i in range(4):
            word |= load_byte(position + i) << np.uint64(8 * i)
        word = (word * _FACTOR) & _LOW
        word = ((word ^ (word >> np.uint64(24))) * _FACTOR) & _LOW
        value = ((value * _FACTOR) & _LOW) ^ word
        position += 4
    if position < end:
        for i in range(end - position):
            value ^= load_byte(position + i) << np.uint64(8 * i)
        value = (value * _FACTOR) & _LOW
    value = ((value ^ (value >> np.uint64(13))) * _FACTOR) & _LOW
    return value ^ (value >> np.uint64(15))


@kernel
def assign(address: Any, length: Any, partition_count: Any, out: Any) -> None:
    """The partition of each key into `out` (int32[n]); that of a null (length -1) is left as it is."""
    for i in range(out.shape[0]):
        if length[i] >= 0:
            value = _hash(address[i], length[i]) & _POSITIVE
            out[i] = np.int32(value % np.uint64(partition_count))

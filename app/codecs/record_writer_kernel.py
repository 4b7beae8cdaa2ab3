"""Kernel that writes the records of Kafka record batches (message format 2).

Positions are addresses; the caller gives columns whose spans lie within their buffers.
"""

from typing import Any, Final

import numpy as np

from app.codecs.copy_kernel import put
from app.codecs.kernel import kernel, part
from app.codecs.words_kernel import store_byte

VARINT_BYTES_MAX: Final = 10
_FIXED_BYTES_MAX: Final = 1 + 6 * VARINT_BYTES_MAX
"""Of a record: its attributes, and six lengths and deltas."""


@part
def _zigzag(value: Any) -> Any:
    return np.uint64((value << np.int64(1)) ^ (value >> np.int64(63)))


@part
def _varint_bytes(value: Any) -> Any:
    """How many bytes a zigzag varint takes."""
    rest = _zigzag(value) >> np.uint64(7)
    size = np.int64(1)
    while rest:
        rest >>= np.uint64(7)
        size += 1
    return size


@part
def _put_varint(position: Any, value: Any) -> Any:
    """Write a zigzag varint; gives the position after it."""
    rest = _zigzag(value)
    while rest >= np.uint64(0x80):
        store_byte(position, rest | np.uint64(0x80))
        rest >>= np.uint64(7)
        position += 1
    store_byte(position, rest)
    return position + 1


@part
def _put_bytes(position: Any, source: Any, length: Any) -> Any:
    """Write a length, -1 for a null, and the bytes; gives the position after them."""
    position = _put_varint(position, length)
    return put(position, source, length) if length > 0 else position


@kernel
def write(
    key_address: Any,
    key_length: Any,
    value_address: Any,
    value_length: Any,
    id_address: Any,
    id_length: Any,
    id_prefix: Any,
    before_id: Any,
    after_id: Any,
    timestamps: Any,
    rows: Any,
    first: Any,
    out: Any,
) -> Any:
    """Write the records rows[first:] to `out` (uint8[]) until the next might not fit.

    A record is the key, the value, `before_id`, the length of the id, `id_prefix` and the rest of it, and `after_id`;
    its deltas count from rows[first]. Returns (the first of `rows` that is not written, bytes written).
    """
    out_base = np.int64(out.ctypes.data)
    before, after = np.int64(before_id.ctypes.data), np.int64(after_id.ctypes.data)
    prefix = np.int64(id_prefix.ctypes.data)
    fixed = before_id.shape[0] + id_prefix.shape[0] + after_id.shape[0]
    end = out_base + out.shape[0]
    base_timestamp = timestamps[rows[first]]
    position = out_base
    number = first
    while number < rows.shape[0]:
        row = rows[number]
        key, value, identity = key_length[row], value_length[row], max(id_length[row], 0)
        texts = max(key, 0) + max(value, 0) + identity + fixed
        if texts + _FIXED_BYTES_MAX > end - position:
            break
        delta = timestamps[row] - base_timestamp
        offset = np.int64(number - first)
        length = (
            texts
            + 1
            + _varint_bytes(delta)
            + _varint_bytes(offset)
            + _varint_bytes(key)
            + _varint_bytes(value)
            + _varint_bytes(id_prefix.shape[0] + identity)
        )
        position = _put_varint(position, length)
        store_byte(position, np.uint64(0))
        position = _put_varint(position + 1, delta)
        position = _put_varint(position, offset)
        position = _put_bytes(position, key_address[row], key)
        position = _put_bytes(position, value_address[row], value)
        position = put(position, before, before_id.shape[0])
        position = _put_varint(position, id_prefix.shape[0] + identity)
        position = put(position, prefix, id_prefix.shape[0])
        position = put(position, id_address[row], identity)
        position = put(position, after, after_id.shape[0])
        number += 1
    return number, position - out_base

"""Kernels over the records of Kafka record batches (message format 2).

Inside, positions are addresses, and every read is checked against the end of the batch.
"""

from typing import Any, Final

import numpy as np

from app.codecs.kernel import kernel, part
from app.codecs.words_kernel import load_byte, load_word, store_word

# What is wrong with a record; the texts are in `record_batch.py`.
GOOD, BAD_VARINT, BAD_LENGTH, BAD_KEY, BAD_VALUE, BAD_HEADERS, BAD_END, BAD_COUNT = range(8)

# The rows of the columns that `walk` writes.
OFFSET, TIMESTAMP, KEY, VALUE, HEADERS, COLUMNS = 0, 1, 2, 4, 6, 8

# The rows of the table that `scan` writes, one column per batch. START and END enclose the records.
(
    BASE_OFFSET,
    CHECKSUM,
    ATTRIBUTES,
    FIRST_TIMESTAMP,
    TIMESTAMP_MAX,
    PRODUCER,
    COUNT,
    START,
    END,
    BATCH_FIELDS,
) = range(10)

HEADER_BYTES: Final = 61
LENGTH_END: Final = 12  # the batch's length counts from here
BAD_BATCH_LENGTH, BAD_FORMAT = 8, 9

UNKNOWN, PLAIN, STRUCTURED = -1, -2, -3

_CE_TYPE: Final = np.uint64(int.from_bytes(b"\0ce_type", "little"))
_CONTENT: Final = np.uint64(int.from_bytes(b"content-", "little"))
_ENT_TYPE: Final = np.uint64(int.from_bytes(b"ent-type", "little"))


@part
def _signed(position: Any, size: Any) -> Any:
    """The big-endian integer of `size` bytes at `position`."""
    value = np.uint64(0)
    for i in range(size):
        value = (value << np.uint64(8)) | load_byte(position + i)
    shift = np.int64(64 - 8 * size)
    return np.int64(value << np.uint64(shift)) >> shift


@kernel
def scan(raw: Any, table: Any) -> Any:
    """Write the headers of the complete batches of a fetch to `table` (int64[9, batches]).

    Returns (batches, GOOD, 0, 0), or what is wrong with the next batch: (_, BAD_BATCH_LENGTH, its
    offset, its length) or (_, BAD_FORMAT, its offset, its message format).
    """
    base = np.int64(raw.ctypes.data)
    size = np.int64(raw.shape[0])
    position = np.int64(0)
    batch = 0
    while size - position > 16:
        at = base + position
        offset, length, magic = _signed(at, 8), _signed(at + 8, 4), _signed(at + 16, 1)
        if length < 0:
            return batch, BAD_BATCH_LENGTH, offset, length
        end = position + LENGTH_END + length
        if end > size:
            break
        if magic != 2:
            return batch, BAD_FORMAT, offset, magic
        if length < HEADER_BYTES - LENGTH_END:
            return batch, BAD_BATCH_LENGTH, offset, length
        table[BASE_OFFSET, batch] = offset
        table[CHECKSUM, batch] = _signed(at + 17, 4) & 0xFFFFFFFF
        table[ATTRIBUTES, batch] = _signed(at + 21, 2)
        table[FIRST_TIMESTAMP, batch] = _signed(at + 27, 8)
        table[TIMESTAMP_MAX, batch] = _signed(at + 35, 8)
        table[PRODUCER, batch] = _signed(at + 43, 8)
        table[COUNT, batch] = _signed(at + 57, 4)
        table[START, batch] = position + HEADER_BYTES
        table[END, batch] = end
        batch += 1
        position = end
    return batch, GOOD, np.int64(0), np.int64(0)


@part
def _varint(position: Any, end: Any) -> Any:
    """(value, next position) of the zigzag varint at `position`; next is -1 if it is damaged."""
    result = np.uint64(0)
    shift = np.uint64(0)
    while position < end and shift < np.uint64(64):
        byte = load_byte(position)
        position += 1
        result |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            value = np.int64(result >> np.uint64(1)) ^ -np.int64(result & np.uint64(1))
            return value, position
        shift += np.uint64(7)
    return np.int64(0), np.int64(-1)


@kernel
def walk(
    buffer: Any,
    starts: Any,
    ends: Any,
    counts: Any,
    base_offsets: Any,
    base_timestamps: Any,
    timestamp_steps: Any,
    first_offset: Any,
    out: Any,
) -> Any:
    """Write one column of `out` (int64[8, sum of counts]) per record from `first_offset` on.

    All other arrays have one item per batch; its records are buffer[start:end]; its timestamp
    step is 0 where the records' own timestamps do not count, else 1. The rows of `out` are offset,
    timestamp, key start and length, value start and length, header start and count.
    Returns (columns written, GOOD, -1), or (_, what is wrong, the batch it is in).
    """
    base = np.int64(buffer.ctypes.data)
    cells = np.int64(out.ctypes.data)
    stride = np.int64(8 * out.shape[1])
    row = 0
    for batch in range(starts.shape[0]):
        position = base + starts[batch]
        end = base + ends[batch]
        for _ in range(counts[batch]):
            cell = cells + 8 * row
            error, position, offset, timestamp = _record(position, end, base, cell, stride)
            if error != GOOD:
                return row, error, batch
            offset += base_offsets[batch]
            timestamp = base_timestamps[batch] + timestamp * timestamp_steps[batch]
            store_word(cell + OFFSET * stride, np.uint64(offset))
            store_word(cell + TIMESTAMP * stride, np.uint64(timestamp))
            row += offset >= first_offset
        if position != end:
            return row, BAD_COUNT, batch
    return row, GOOD, -1


@part
def _record(position: Any, end: Any, base: Any, cell: Any, stride: Any) -> Any:
    """(what is wrong, position after the record, its offset delta, its timestamp delta)."""
    zero = np.int64(0)
    length, position = _varint(position, end)
    if position < 0:
        return BAD_VARINT, position, zero, zero
    if length < 1 or length > end - position:
        return BAD_LENGTH, position, zero, zero
    end = position + length
    timestamp, position = _varint(position + 1, end)  # after the attributes, which are unused
    if position < 0:
        return BAD_VARINT, position, zero, zero
    offset, position = _varint(position, end)
    if position < 0:
        return BAD_VARINT, position, zero, zero
    error, position = _span(position, end, base, cell + KEY * stride, stride, BAD_KEY)
    if error == GOOD:
        error, position = _span(position, end, base, cell + VALUE * stride, stride, BAD_VALUE)
    if error == GOOD:
        error, position = _headers(position, end, base, cell + HEADERS * stride, stride)
    if error == GOOD and position != end:
        error = BAD_END
    return error, position, offset, timestamp


@part
def _span(position: Any, end: Any, base: Any, cell: Any, stride: Any, bad: Any) -> Any:
    """Store start and length of nullable bytes; (what is wrong, position after them)."""
    length, position = _varint(position, end)
    if position < 0:
        return BAD_VARINT, position
    if length > end - position:
        return bad, position
    store_word(cell, np.uint64(position - base))
    store_word(cell + stride, np.uint64(max(length, -1)))
    return GOOD, position + max(length, 0)


@part
def _headers(position: Any, end: Any, base: Any, cell: Any, stride: Any) -> Any:
    """Store start and count of the headers; (what is wrong, position after them)."""
    count, position = _varint(position, end)
    if position < 0:
        return BAD_VARINT, position
    if count < 0 or count > end - position:
        return BAD_HEADERS, position
    store_word(cell, np.uint64(position - base))
    store_word(cell + stride, np.uint64(count))
    for _ in range(count):
        length, position = _varint(position, end)
        if position < 0 or length < 0 or length > end - position:
            return BAD_HEADERS, position
        length, position = _varint(position + length, end)
        if position < 0 or length > end - position:
            return BAD_HEADERS, position
        position += max(length, 0)
    return GOOD, position


@part
def _begins_with(position: Any, length: Any, text: Any, size: Any) -> Any:
    """Whether `length` bytes begin with the `size` bytes at `text`."""
    if length < size:
        return False
    same = 0
    while same + 8 <= size and load_word(position + same) == load_word(text + same):
        same += 8
    while same < size and load_byte(position + same) == load_byte(text + same):
        same += 1
    return same == size


@part
def _is_type(key: Any, length: Any) -> Any:
    """Whether a header is named ce_type. (The length of its value follows: an eighth byte.)"""
    return length == 7 and (load_word(key) << np.uint64(8)) == _CE_TYPE


@part
def _is_content_type(key: Any, length: Any) -> Any:
    """Whether a header is named content-type."""
    return length == 12 and load_word(key) == _CONTENT and load_word(key + 4) == _ENT_TYPE


@kernel
def classify(
    buffer: Any, header_start: Any, header_count: Any, names: Any, ends: Any, out: Any
) -> None:
    """Write the index of each record's event type, or why it has none, to `out` (int16[n]).

    Text k is names[ends[k]:ends[k + 1]]: the content type of a whole event in JSON, then the types.
    `walk` has checked the headers.
    """
    base = np.int64(buffer.ctypes.data)
    texts = np.int64(names.ctypes.data)
    limit = base + buffer.shape[0]
    types = ends.shape[0] - 2
    guess = 0
    for row in range(header_start.shape[0]):
        kind = PLAIN
        position = base + header_start[row]
        for _ in range(header_count[row]):
            key_length, key = _varint(position, limit)
            length, value = _varint(key + key_length, limit)
            position = value + max(length, 0)
            if _is_type(key, key_length):
                kind = UNKNOWN
                for i in range(types):
                    index = guess + i if guess + i < types else guess + i - types
                    text, size = ends[index + 1], ends[index + 2] - ends[index + 1]
                    if length == size and _begins_with(value, length, texts + text, size):
                        kind = guess = index
                        break
                break
            if _is_content_type(key, key_length) and _begins_with(value, length, texts, ends[1]):
                kind = STRUCTURED
        out[row] = kind

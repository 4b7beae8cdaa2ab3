# mypy: disable-error-code="untyped-decorator"
"""Kernels over the records of Kafka record batches (message format 2). Every read is checked."""

from typing import Any

import numpy as np
from numba import njit

from app.codecs.words_kernel import load_byte

# What is wrong with a record; the texts are in `record_batch.py`.
GOOD, BAD_VARINT, BAD_LENGTH, BAD_KEY, BAD_VALUE, BAD_HEADERS, BAD_END, BAD_COUNT = range(8)

UNKNOWN, PLAIN, STRUCTURED = -1, -2, -3
CE_TYPE = np.frombuffer(b"ce_type", np.uint8)
CONTENT_TYPE = np.frombuffer(b"content-type", np.uint8)
STRUCTURED_JSON = np.frombuffer(b"application/cloudevents+json", np.uint8)


@njit(nogil=True, cache=True)
def varint(buffer: Any, position: Any, end: Any) -> Any:
    """(value, next position) of the zigzag varint at `position`; next is -1 if it is damaged."""
    result = np.uint64(0)
    shift = np.uint64(0)
    while position < end and shift < np.uint64(64):
        byte = load_byte(buffer, position)
        position += 1
        result |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            value = np.int64(result >> np.uint64(1)) ^ -np.int64(result & np.uint64(1))
            return value, position
        shift += np.uint64(7)
    return np.int64(0), np.int64(-1)


@njit(nogil=True, cache=True)
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
    row = 0
    for batch in range(starts.shape[0]):
        position = starts[batch]
        end = ends[batch]
        for _ in range(counts[batch]):
            error, position, offset, timestamp = _record(buffer, position, end, out, row)
            if error != GOOD:
                return row, error, batch
            out[0, row] = base_offsets[batch] + offset
            out[1, row] = base_timestamps[batch] + timestamp * timestamp_steps[batch]
            if out[0, row] >= first_offset:
                row += 1
        if position != end:
            return row, BAD_COUNT, batch
    return row, GOOD, -1


@njit(nogil=True, cache=True)
def _record(buffer: Any, position: Any, end: Any, out: Any, row: Any) -> Any:
    """(what is wrong, position after the record, its offset delta, its timestamp delta)."""
    length, position = varint(buffer, position, end)
    if position < 0:
        return BAD_VARINT, position, np.int64(0), np.int64(0)
    if length < 1 or length > end - position:
        return BAD_LENGTH, position, np.int64(0), np.int64(0)
    end = position + length
    timestamp, position = varint(buffer, position + 1, end)  # after the attributes, unused
    if position < 0:
        return BAD_VARINT, position, np.int64(0), np.int64(0)
    offset, position = varint(buffer, position, end)
    if position < 0:
        return BAD_VARINT, position, np.int64(0), np.int64(0)
    error, position = _span(buffer, position, end, out, 2, row, BAD_KEY)
    if error == GOOD:
        error, position = _span(buffer, position, end, out, 4, row, BAD_VALUE)
    if error == GOOD:
        error, position = _headers(buffer, position, end, out, row)
    if error == GOOD and position != end:
        error = BAD_END
    return error, position, offset, timestamp


@njit(nogil=True, cache=True)
def _span(buffer: Any, position: Any, end: Any, out: Any, field: Any, row: Any, bad: Any) -> Any:
    """Store start and length of nullable bytes; (what is wrong, position after them)."""
    length, position = varint(buffer, position, end)
    if position < 0:
        return BAD_VARINT, position
    if length > end - position:
        return bad, position
    out[field, row] = position
    out[field + 1, row] = max(length, -1)
    return GOOD, position + max(length, 0)


@njit(nogil=True, cache=True)
def _headers(buffer: Any, position: Any, end: Any, out: Any, row: Any) -> Any:
    """Store start and count of the headers; (what is wrong, position after them)."""
    count, position = varint(buffer, position, end)
    if position < 0:
        return BAD_VARINT, position
    if count < 0 or count > end - position:
        return BAD_HEADERS, position
    out[6, row] = position
    out[7, row] = count
    for _ in range(count):
        length, position = varint(buffer, position, end)
        if position < 0 or length < 0 or length > end - position:
            return BAD_HEADERS, position
        length, position = varint(buffer, position + length, end)
        if position < 0 or length > end - position:
            return BAD_HEADERS, position
        position += max(length, 0)
    return GOOD, position


@njit(nogil=True, cache=True)
def _starts_with(buffer: Any, start: Any, length: Any, text: Any) -> Any:
    """Whether the `length` bytes at `start` begin with the bytes of `text`."""
    size = text.shape[0]
    matching = 0
    while matching < min(size, length) and load_byte(buffer, start + matching) == text[matching]:
        matching += 1
    return matching == size


@njit(nogil=True, cache=True)
def _name_index(
    buffer: Any, start: Any, length: Any, names: Any, name_ends: Any, guess: Any
) -> Any:
    """The index of the name that the bytes are, tried from `guess` on, or UNKNOWN."""
    count = name_ends.shape[0] - 1
    for i in range(count):
        index = (guess + i) % count
        name = names[name_ends[index] : name_ends[index + 1]]
        if length == name.shape[0] and _starts_with(buffer, start, length, name):
            return index
    return UNKNOWN


@njit(nogil=True, cache=True)
def classify(
    buffer: Any, header_start: Any, header_count: Any, names: Any, name_ends: Any, out: Any
) -> None:
    """Write the index of each record's event type, or why it has none, to `out` (int16[n]).

    Name k is names[name_ends[k]:name_ends[k + 1]]. The headers were checked by `walk`.
    """
    end = buffer.shape[0]
    guess = 0
    for row in range(header_start.shape[0]):
        kind = PLAIN
        position = header_start[row]
        for _ in range(header_count[row]):
            key_length, key = varint(buffer, position, end)
            length, value = varint(buffer, key + key_length, end)
            position = value + max(length, 0)
            if key_length == 7 and _starts_with(buffer, key, key_length, CE_TYPE):
                kind = _name_index(buffer, value, length, names, name_ends, guess)
                guess = max(kind, 0)
                break
            if (
                key_length == 12
                and _starts_with(buffer, key, key_length, CONTENT_TYPE)
                and _starts_with(buffer, value, length, STRUCTURED_JSON)
            ):
                kind = STRUCTURED
        out[row] = kind

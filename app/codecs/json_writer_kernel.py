"""Kernel that writes rows of columns as JSON objects.

Positions are addresses; the caller has made room for the longest possible result.
"""

from typing import Any, Final

import numpy as np

from app.codecs.copy_kernel import put
from app.codecs.kernel import kernel, part
from app.codecs.words_kernel import load_byte, load_float, load_word, store_byte, store_word

TEXT, RAW, INTEGER, FLOAT, BOOLEAN = range(5)

INTEGER_BYTES_MAX: Final = 20
FLOAT_BYTES_MAX: Final = 26
BOOLEAN_BYTES_MAX: Final = 5
ESCAPED_BYTES_MAX: Final = 6
"""Of one byte of a text."""

_EXACT_MAX: Final = float(1 << 53)
_DECIMALS_MAX: Final = 15
_ONES: Final = np.uint64(0x0101010101010101)
_HIGHS: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_SLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_BLANKS: Final = np.uint64(0x2020202020202020)
_NULL: Final = np.uint64(int.from_bytes(b"null", "little"))
_TRUE: Final = np.uint64(int.from_bytes(b"true", "little"))
_FALSE: Final = np.uint64(int.from_bytes(b"false", "little"))


@part
def _put_word(position: Any, word: Any, length: Any) -> Any:
    """Write the low bytes of a word; up to 7 bytes behind them are overwritten too."""
    store_word(position, word)
    return position + length


@part
def _put_digits(position: Any, value: Any, least: Any) -> Any:
    """Write a uint64 in decimal with at least so many digits."""
    count = np.int64(1)
    rest = value // np.uint64(10)
    while rest:
        rest //= np.uint64(10)
        count += 1
    count = max(count, least)
    at = position + count
    rest = value
    while at > position:
        at -= 1
        store_byte(at, np.uint64(48) + rest % np.uint64(10))
        rest //= np.uint64(10)
    return position + count


@part
def _put_integer(position: Any, value: Any) -> Any:
    magnitude = np.uint64(value)
    if value < 0:
        store_byte(position, np.uint64(45))
        position += 1
        magnitude = np.uint64(0) - magnitude
    return _put_digits(position, magnitude, np.int64(1))


@part
def _put_float(position: Any, value: Any, negative: Any) -> Any:
    """The shortest decimal without an exponent that is read back as this very number.

    i / 10^k is rounded correctly where both are exact, as in reading the decimal i * 10^-k (Clinger,
    1990): so it needs no more than to find the smallest k for which that gives the number back.
    Returns -1 if there is none, or no finite number.
    """
    size = abs(value)
    if not size < _EXACT_MAX:
        return np.int64(-1)
    scale = 1.0
    decimals = np.int64(0)
    while True:
        whole = np.rint(size * scale)
        if whole >= _EXACT_MAX or decimals > _DECIMALS_MAX:
            return np.int64(-1)
        if whole / scale == size:
            break
        scale *= 10.0
        decimals += 1
    if negative:
        store_byte(position, np.uint64(45))
        position += 1
    digits = np.uint64(whole)
    unit = np.uint64(scale)
    position = _put_digits(position, digits // unit, np.int64(1))
    store_byte(position, np.uint64(46))
    return _put_digits(position + 1, digits % unit, max(decimals, np.int64(1)))


@part
def _special(word: Any) -> Any:
    """Not 0 if one of the eight bytes is a quote, a backslash or a control character (or, rarely, none is)."""
    quote = word ^ _QUOTES
    slash = word ^ _SLASHES
    found = (quote - _ONES) & ~quote
    found |= (slash - _ONES) & ~slash
    found |= (word - _BLANKS) & ~word
    return found & _HIGHS


@part
def _put_text(position: Any, source: Any, length: Any) -> Any:
    """A string in quotes, escaped where JSON asks for it."""
    store_byte(position, np.uint64(34))
    position += 1
    end = source + length
    while source < end:
        if source + 8 <= end:
            word = load_word(source)
            if not _special(word):
                store_word(position, word)
                source += 8
                position += 8
                continue
        byte = load_byte(source)
        source += 1
        if byte >= np.uint64(32) and byte != np.uint64(34) and byte != np.uint64(92):
            store_byte(position, byte)
            position += 1
            continue
        store_byte(position, np.uint64(92))
        if byte >= np.uint64(32):
            store_byte(position + 1, byte)
            position += 2
            continue
        store_byte(position + 1, np.uint64(117))
        store_byte(position + 2, np.uint64(48))
        store_byte(position + 3, np.uint64(48))
        store_byte(position + 4, np.uint64(48) + (byte >> np.uint64(4)))
        low = byte & np.uint64(15)
        store_byte(position + 5, low + (np.uint64(48) if low < 10 else np.uint64(87)))
        position += 6
    store_byte(position, np.uint64(34))
    return position + 1


@kernel
def write_json(
    kinds: Any,
    data: Any,
    lengths: Any,
    nulls: Any,
    labels: Any,
    label_ends: Any,
    out: Any,
    start: Any,
    length: Any,
) -> Any:
    """Write one object per row to `out`, and where it is to `start` and `length` (int64[n]).

    Per column (int64[c] each): its kind; the address of its values, of TEXT and RAW of their addresses
    (int64[n]); the address of their lengths; the address of uint8[n] that tell nulls, or 0. Column c is
    labelled labels[label_ends[c]:label_ends[c + 1]]. RAW is JSON already.
    Returns -1, or the column that holds a float that is left to the caller.
    """
    base = np.int64(out.ctypes.data)
    names = np.int64(labels.ctypes.data)
    position = base
    for row in range(start.shape[0]):
        first = position
        for column in range(kinds.shape[0]):
            label = label_ends[column]
            position = put(position, names + label, label_ends[column + 1] - label)
            kind = kinds[column]
            cell = data[column] + 8 * row
            if nulls[column] != 0 and load_byte(nulls[column] + row):
                position = _put_word(position, _NULL, 4)
            elif kind in (TEXT, RAW):
                source = np.int64(load_word(cell))
                size = np.int64(load_word(lengths[column] + 8 * row))
                if size < 0:
                    position = _put_word(position, _NULL, 4)
                elif kind == TEXT:
                    position = _put_text(position, source, size)
                else:
                    position = put(position, source, size)
            elif kind == INTEGER:
                position = _put_integer(position, np.int64(load_word(cell)))
            elif kind == FLOAT:
                negative = load_word(cell) >> np.uint64(63)
                after = _put_float(position, load_float(cell), negative)
                if after < 0:
                    return column
                position = after
            elif load_byte(data[column] + row):
                position = _put_word(position, _TRUE, 4)
            else:
                position = _put_word(position, _FALSE, 5)
        store_byte(position, np.uint64(125))
        position += 1
        start[row] = first - base
        length[row] = position - first
    return -1

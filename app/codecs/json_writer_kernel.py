"""Kernel that writes rows of columns as JSON objects.

Positions are addresses; the caller has made room for the longest possible result.
"""

from typing import Any, Final

import numpy as np

from app.codecs.copy_kernel import put
from app.codecs.kernel import kernel, part, subroutine
from app.codecs.shortest_decimal_kernel import shortest
from app.codecs.words_kernel import (
    leading_zeros,
    load_byte,
    load_word,
    power_of_ten,
    store_byte,
    store_word,
)

TEXT, INTEGER, FLOAT, BOOLEAN = range(4)

INTEGER_BYTES_MAX: Final = 20
FLOAT_BYTES_MAX: Final = 26
BOOLEAN_BYTES_MAX: Final = 5
ESCAPED_BYTES_MAX: Final = 6
"""Of one byte of a text."""

_POINT_MIN, _POINT_MAX = -3, 16  # beyond, a number is written with an exponent, as Python does
_SIGN: Final = np.uint64(1 << 63)
_INFINITE: Final = np.uint64(0x7FF << 52)
_ZEROS: Final = np.uint64(0x3030303030303030)
_ONES: Final = np.uint64(0x0101010101010101)
_HIGHS: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_SLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_BLANKS: Final = np.uint64(0x2020202020202020)
_ZERO: Final = np.uint64(int.from_bytes(b"0.0", "little"))
_ZERO_POINT: Final = np.uint64(int.from_bytes(b"0.", "little"))
_POINT_ZERO: Final = np.uint64(int.from_bytes(b".0", "little"))
_NULL: Final = np.uint64(int.from_bytes(b"null", "little"))
_TRUE: Final = np.uint64(int.from_bytes(b"true", "little"))
_FALSE: Final = np.uint64(int.from_bytes(b"false", "little"))


@part
def _put_word(position: Any, word: Any, length: Any) -> Any:
    """Write the low bytes of a word; up to 7 bytes behind them are overwritten too."""
    store_word(position, word)
    return position + length


@part
def _eight_digits(value: Any) -> Any:
    """The text of a number below 10^8 with eight digits, as a word: fours, pairs, then digits side by side."""
    fours = value // np.uint64(10_000)
    word = fours | ((value - fours * np.uint64(10_000)) << np.uint64(32))
    upper = ((word * np.uint64(10_486)) >> np.uint64(20)) & np.uint64(0x0000007F0000007F)
    word = upper | ((word - upper * np.uint64(100)) << np.uint64(16))
    upper = ((word * np.uint64(103)) >> np.uint64(10)) & np.uint64(0x000F000F000F000F)
    word = upper | ((word - upper * np.uint64(10)) << np.uint64(8))
    return word | _ZEROS


@part
def _digit_count(value: Any) -> Any:
    """How many decimal digits a uint64 has."""
    bits = np.int64(64) - leading_zeros(value | np.uint64(1))
    least = (bits * np.int64(1233)) >> 12  # floor(bits * log10(2))
    return least + (np.int64(1) if value >= power_of_ten(least) or least == 0 else np.int64(0))


@part
def _put_digits(position: Any, value: Any, least: Any) -> Any:
    """Write a uint64 in decimal with at least so many digits."""
    count = max(_digit_count(value), least)
    for below, unit in ((16, 10**16), (8, 10**8)):
        if count > below:
            upper = value // np.uint64(unit)
            value -= upper * np.uint64(unit)
            text = _eight_digits(upper) >> np.uint64(8 * (below + 8 - count))
            position = _put_word(position, text, count - below)
            count = np.int64(below)
    return _put_word(position, _eight_digits(value) >> np.uint64(8 * (8 - count)), count)


@part
def _put_integer(position: Any, value: Any) -> Any:
    magnitude = np.uint64(value)
    if value < 0:
        store_byte(position, np.uint64(45))
        position += 1
        magnitude = np.uint64(0) - magnitude
    return _put_digits(position, magnitude, np.int64(1))


@part
def _stripped(digits: Any, power: Any) -> Any:
    """(digits, power) of the same number without zeros at the end of its digits."""
    for step, unit in ((8, 10**8), (4, 10**4), (2, 10**2), (1, 10)):
        shorter = digits // np.uint64(unit)
        if shorter * np.uint64(unit) == digits:
            digits = shorter
            power += step
    return digits, power


@part
def _put_float(position: Any, bits: Any) -> Any:
    """The shortest decimal that is read back as this very number; null if it is none."""
    size = bits & ~_SIGN
    if size >= _INFINITE:
        return _put_word(position, _NULL, 4)
    if bits != size:
        store_byte(position, np.uint64(45))
        position += 1
    if size == np.uint64(0):
        return _put_word(position, _ZERO, 3)
    digits, power = _stripped(*shortest(size))
    after = _put_digits(position, digits, np.int64(1))
    count = after - position
    point = count + power  # so many digits stand before the point
    if point < _POINT_MIN or point > _POINT_MAX:
        return _put_scientific(position, digits, count, point - 1)
    if power >= 0:
        for _ in range(power):
            store_byte(after, np.uint64(48))
            after += 1
        return _put_word(after, _POINT_ZERO, 2)
    if point <= 0:
        position = _put_word(position, _ZERO_POINT, 2)
        return _put_digits(position, digits, -power)
    unit = power_of_ten(-power)
    position = _put_digits(position, digits // unit, np.int64(1))
    store_byte(position, np.uint64(46))
    return _put_digits(position + 1, digits % unit, -power)


@subroutine
def _put_scientific(position: Any, digits: Any, count: Any, exponent: Any) -> Any:
    """One digit, the others behind a point, and the exponent."""
    unit = power_of_ten(count - 1)
    position = _put_digits(position, digits // unit, np.int64(1))
    if count > 1:
        store_byte(position, np.uint64(46))
        position = _put_digits(position + 1, digits % unit, count - 1)
    store_byte(position, np.uint64(101))
    return _put_integer(position + 1, exponent)


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

    Per column (int64[c] each): its kind; the address of its values, of TEXT of their addresses (int64[n]);
    the address of their lengths; the address of uint8[n] that tell nulls, or 0. Column c is labelled
    labels[label_ends[c]:label_ends[c + 1]].
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
            elif kind == TEXT:
                source = np.int64(load_word(cell))
                size = np.int64(load_word(lengths[column] + 8 * row))
                position = (
                    _put_text(position, source, size)
                    if size >= 0
                    else _put_word(position, _NULL, 4)
                )
            elif kind == INTEGER:
                position = _put_integer(position, np.int64(load_word(cell)))
            elif kind == FLOAT:
                position = _put_float(position, load_word(cell))
            elif load_byte(data[column] + row):
                position = _put_word(position, _TRUE, 4)
            else:
                position = _put_word(position, _FALSE, 5)
        store_byte(position, np.uint64(125))
        position += 1
        start[row] = first - base
        length[row] = position - first

"""The scalars of JSON, eight bytes at a time: strings, integers, floats.

Positions are addresses. Each function takes only what msgspec surely accepts and gives -1 as the
next position otherwise. A word that starts before the end of a value may be read to SLACK
bytes beyond that end; a position beyond the end is the caller's to notice.
"""

from typing import Any, Final

import numpy as np

from app.codecs.decimal_kernel import nearest
from app.codecs.kernel import part, subroutine
from app.codecs.words_kernel import load_byte, load_word, power_of_ten, trailing_zeros

_HIGHS: Final = np.uint64(0x8080808080808080)
_ZEROS: Final = np.uint64(0x3030303030303030)
_ABOVE_NINE: Final = np.uint64(0x7676767676767676)

_INT64_MAX: Final = np.uint64(2**63 - 1)
_DIGITS_MAX: Final = 19


@part
def _eight_digits(position: Any) -> Any:
    """(value, count) of the decimal digits at `position`, at most eight."""
    word = load_word(position) ^ _ZEROS
    others = ((word + _ABOVE_NINE) | word) & _HIGHS
    count = np.int64(8)
    if others != np.uint64(0):
        count = trailing_zeros(others) >> 3
        word = (word << np.uint64(1)) << np.uint64(63 - 8 * count)
    # neighbours become pairs, pairs fours, fours eight (Lemire, Mula)
    word = (word * np.uint64(1 + (10 << 8))) >> np.uint64(8)
    word = ((word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(1 + (100 << 16))) >> np.uint64(16)
    word = ((word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(1 + (10000 << 32))) >> np.uint64(32)
    return word, count


@part
def _digits(position: Any) -> Any:
    """(value as uint64, count) of the decimal digits at `position`; more than 19 do not count."""
    value, count = _eight_digits(position)
    if count == 8:
        more, size = _eight_digits(position + 8)
        value = value * power_of_ten(size) + more
        count += size
        if size == 8:
            more, size = _eight_digits(position + 16)
            value = value * power_of_ten(size) + more
            count += size
    return value, count


@part
def integer(position: Any) -> Any:
    """(int64, next position) of the integer at `position`."""
    negative = load_byte(position) == 0x2D
    if negative:
        position += 1
    value, count = _digits(position)
    if count == 0 or count > _DIGITS_MAX or value > _INT64_MAX:
        return np.int64(0), np.int64(-1)
    if count > 1 and load_byte(position) == 0x30:
        return np.int64(0), np.int64(-1)
    result = np.int64(value)
    return (-result if negative else result), position + count


@part
def floating(position: Any) -> Any:
    """(float64, next position) of the number at `position`."""
    unsure = np.float64(0.0), np.int64(-1)
    negative = load_byte(position) == 0x2D
    if negative:
        position += 1
    mantissa, count = _digits(position)
    if count == 0 or count > _DIGITS_MAX or (count > 1 and load_byte(position) == 0x30):
        return unsure
    position += count
    power = np.int64(0)
    if load_byte(position) == 0x2E:
        fraction, size = _digits(position + 1)
        count += size
        if size == 0 or count > _DIGITS_MAX:
            return unsure
        mantissa = mantissa * power_of_ten(size) + fraction
        position += 1 + size
        power = -size
    elif negative and mantissa == np.uint64(0):
        return unsure
    if (load_byte(position) | np.uint64(0x20)) == 0x65:
        exponent, position = _exponent(position + 1)
        power += exponent
    if count > _DIGITS_MAX:
        return unsure
    value, sure = nearest(mantissa, power)
    if not sure:
        return unsure
    return (-value if negative else value), position


@subroutine
def _exponent(position: Any) -> Any:
    """(exponent, next position) after the letter e; an exponent out of all ranges is 9999."""
    sign = load_byte(position)
    if sign == 0x2B or sign == 0x2D:
        position += 1
    value, count = _eight_digits(position)
    if count == 0 or count > 4:
        return np.int64(9999), position
    exponent = np.int64(value)
    return (-exponent if sign == 0x2D else exponent), position + count


@subroutine
def number_end(position: Any, end: Any) -> Any:
    """The position after the number of any size at `position`, or -1."""
    if load_byte(position) == 0x2D:
        position += 1
    start = position
    position = _digits_end(start, end)
    if position == start or (position > start + 1 and load_byte(start) == 0x30):
        return -1
    if position < end and load_byte(position) == 0x2E:
        start = position + 1
        position = _digits_end(start, end)
        if position == start:
            return -1
    if position < end and (load_byte(position) | np.uint64(0x20)) == 0x65:
        position += 1
        if load_byte(position) == 0x2B or load_byte(position) == 0x2D:
            position += 1
        start = position
        position = _digits_end(start, end)
        if position == start:
            return -1
    return position


@subroutine
def _digits_end(position: Any, end: Any) -> Any:
    """The position of the first byte from `position` on that is no decimal digit, or `end`."""
    while position < end and load_byte(position) - np.uint64(0x30) < np.uint64(10):
        position += 1
    return position


@part
def after_blanks(position: Any, end: Any) -> Any:
    """The position of the first byte from `position` on that is no JSON white space, or `end`."""
    while position < end:
        byte = load_byte(position)
        if byte != 0x20 and byte != 0x0A and byte != 0x0D and byte != 0x09:
            break
        position += 1
    return position

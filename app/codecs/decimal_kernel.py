"""The float64 nearest to a decimal number.

Clinger's fast path (1990) where mantissa and power are small, else the algorithm of Eisel and
Lemire ("Number Parsing at a Gigabyte per Second", 2021), which gives up on a few numbers.
"""

from typing import Any, Final

import numpy as np

from app.codecs.kernel import part, subroutine
from app.codecs.words_kernel import float_of_bits, leading_zeros, multiply_high, table

_EXACT_MAX: Final = np.uint64(2**53)
_POWER_MIN, _POWER_MAX = -300, 300  # beyond, subnormal numbers and infinity come near
_ALL: Final = np.uint64(2**64 - 1)
_ONE: Final = np.uint64(1)
_NINE_ONES: Final = np.uint64(0x1FF)
_HIDDEN_BIT: Final = np.uint64(1 << 52)


def _power_of_five(power: int) -> int:
    """The upper 128 bits of 5**power, from the highest one bit on, as the authors generate them."""
    if power >= 0:
        value: int = 5**power
        shift = value.bit_length() - 128
        return value >> shift if shift >= 0 else value << -shift
    divisor: int = 5**-power
    bits = (divisor - 1).bit_length()
    if power >= -27:
        return (1 << (bits + 127)) // divisor + 1
    value = (1 << (2 * bits + 128)) // divisor + 1
    return value >> max(value.bit_length() - 128, 0)


_FIVES: Final = [_power_of_five(power) for power in range(_POWER_MIN, _POWER_MAX + 1)]
_five_high: Final = table([value >> 64 for value in _FIVES])
_five_low: Final = table([value & (2**64 - 1) for value in _FIVES])
_ten: Final = table(np.array([10.0**power for power in range(23)]).view(np.uint64).tolist())


@part
def nearest(mantissa: Any, power: Any) -> Any:
    """(float64 nearest to mantissa * 10**power, True), or (_, False) if that is not sure."""
    if mantissa < _EXACT_MAX and -22 <= power <= 22:
        value = np.float64(np.int64(mantissa))
        if power < 0:
            return value / float_of_bits(_ten(-power)), True
        return value * float_of_bits(_ten(power)), True
    if mantissa == np.uint64(0) or power < _POWER_MIN or power > _POWER_MAX:
        return 0.0, False
    return _eisel_lemire(mantissa, power)


@subroutine
def _eisel_lemire(mantissa: Any, power: Any) -> Any:
    """The same for a mantissa that is not 0 and a power in the table."""
    zeros = leading_zeros(mantissa)
    mantissa <<= np.uint64(zeros)
    high = multiply_high(mantissa, _five_high(power - _POWER_MIN))
    low = mantissa * _five_high(power - _POWER_MIN)
    if (high & _NINE_ONES) == _NINE_ONES:
        more = multiply_high(mantissa, _five_low(power - _POWER_MIN))
        low += more
        if low < more:
            high += _ONE
    if low == _ALL and not -27 <= power <= 55:
        return 0.0, False
    upper_bit = np.int64(high >> np.uint64(63))
    shift = np.uint64(upper_bit + 64 - 52 - 3)
    result = high >> shift
    exponent = ((217706 * power) >> 16) + 63 + upper_bit - zeros + 1023
    if exponent <= 0:
        return 0.0, False
    halfway = low <= _ONE and -4 <= power <= 23 and (result & np.uint64(3)) == _ONE
    if halfway and (result << shift) == high:
        result &= ~_ONE  # half way between two: to the even one
    result = (result + (result & _ONE)) >> _ONE
    if result >= _HIDDEN_BIT << _ONE:
        result = _HIDDEN_BIT
        exponent += 1
    if exponent >= 0x7FF:
        return 0.0, False
    bits = (result & ~_HIDDEN_BIT) | (np.uint64(exponent) << np.uint64(52))
    return float_of_bits(bits), True

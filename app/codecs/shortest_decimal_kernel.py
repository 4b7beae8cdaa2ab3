"""The shortest decimal that is read back as a given float64, and of those the nearest.

Raffaello Giulietti, The Schubfach way to render doubles (2021): of the decimals on two neighbouring grids of
powers of ten, at most one of the coarser grid and at most two of the finer lie in the interval that is rounded
to the number. Products with powers of ten are of 128 bits, rounded to odd, which is exact enough to decide.
"""

from typing import Any, Final

import numpy as np

from app.codecs.kernel import part
from app.codecs.words_kernel import multiply_high, table

_FRACTION_BITS: Final = 52
_IMPLICIT: Final = np.uint64(1 << _FRACTION_BITS)
_FRACTION: Final = np.uint64((1 << _FRACTION_BITS) - 1)
_EXPONENT_BIAS: Final = 1075
_POWER_MIN, _POWER_MAX = -292, 324


def _scaled_power(power: int) -> int:
    """10^power, rounded up, as 128 bits of which the highest is set."""
    if power >= 0:
        value: int = 10**power
        shift = 128 - value.bit_length()
        return value << shift if shift >= 0 else -(-value >> -shift)
    divisor: int = 10**-power
    # 2^n / divisor has 128 bits for the n that follows, as divisor is no power of two
    return -(-(1 << (127 + divisor.bit_length())) // divisor)


_POWERS: Final = [_scaled_power(power) for power in range(_POWER_MIN, _POWER_MAX + 1)]
_power_high: Final = table([value >> 64 for value in _POWERS])
_power_low: Final = table([value & (2**64 - 1) for value in _POWERS])


@part
def _floor_log10_of_power_of_2(exponent: Any, three_quarters: Any) -> Any:
    """floor(log10(2^exponent)), or of 3/4 of that; exact for all exponents of a float64."""
    return (
        exponent * np.int64(1262611) - (np.int64(524031) if three_quarters else np.int64(0))
    ) >> 22


@part
def _floor_log2_of_power_of_10(exponent: Any) -> Any:
    return (exponent * np.int64(1741647)) >> 19


@part
def _product(high: Any, low: Any, factor: Any) -> Any:
    """The upper 64 bits of a product of 192, with the lowest bit set if anything is below."""
    carried = multiply_high(low, factor)
    middle = high * factor + carried
    upper = multiply_high(high, factor) + (np.uint64(1) if middle < carried else np.uint64(0))
    return upper | (np.uint64(1) if middle > np.uint64(1) else np.uint64(0))


@part
def shortest(bits: Any) -> Any:
    """(digits as uint64, exponent of ten) of the bits of a positive, finite float64."""
    fraction = bits & _FRACTION
    biased = np.int64(bits >> np.uint64(_FRACTION_BITS))
    if biased != 0:
        whole, exponent = fraction | _IMPLICIT, biased - _EXPONENT_BIAS
        if -_FRACTION_BITS <= exponent <= 0:
            shift = np.uint64(-exponent)
            integer = whole >> shift
            if integer << shift == whole:
                return integer, np.int64(0)
    else:
        whole, exponent = fraction, np.int64(1 - _EXPONENT_BIAS)
    # the interval reaches half way to both neighbours, and the lower one of a power of two is nearer
    lopsided = fraction == 0 and biased > 1
    odd = whole & np.uint64(1)  # the ends of the interval belong to an even number
    power = _floor_log10_of_power_of_2(exponent, lopsided)
    shift = np.uint64(exponent + _floor_log2_of_power_of_10(-power) + 1)
    high, low = _power_high(-power - _POWER_MIN), _power_low(-power - _POWER_MIN)
    four = whole << np.uint64(2)
    below = four - (np.uint64(1) if lopsided else np.uint64(2))
    lower = _product(high, low, below << shift) + odd
    value = _product(high, low, four << shift)
    upper = _product(high, low, (four + np.uint64(2)) << shift) - odd
    digits = value >> np.uint64(2)
    if digits >= np.uint64(10):
        coarse = digits // np.uint64(10)
        down = lower <= np.uint64(40) * coarse
        up = np.uint64(40) * coarse + np.uint64(40) <= upper
        if down != up:
            return coarse + (np.uint64(1) if up else np.uint64(0)), power + 1
    down = lower <= digits << np.uint64(2)
    up = (digits << np.uint64(2)) + np.uint64(4) <= upper
    if down == up:
        middle = (digits << np.uint64(2)) + np.uint64(2)
        up = value > middle or (value == middle and (digits & np.uint64(1)) != 0)
    return digits + (np.uint64(1) if up else np.uint64(0)), power

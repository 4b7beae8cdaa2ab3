"""A 64-bit hash of keys of several columns, and filters of such hashes.

The finalizer is that of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
State on disk is ordered by these hashes: another function needs another format of the segments.
"""

from typing import Any, Final

import numpy as np

from app.codecs.kernel import kernel, part
from app.codecs.words_kernel import load_byte, load_word, multiply_high

_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
PROBES: Final = 6
_PROBE_SEED: Final = np.uint64(0xD6E8FEB86659FD93)


@part
def _mixed(value: Any) -> Any:
    value = (value ^ (value >> np.uint64(30))) * _FIRST
    value = (value ^ (value >> np.uint64(27))) * _SECOND
    return value ^ (value >> np.uint64(31))


@kernel
def add_words(words: Any, out: Any) -> None:
    """Let the hashes in `out` (uint64[n]) go on with a word each. words: uint64[n]."""
    for i in range(out.shape[0]):
        out[i] = _mixed(out[i] + _STEP + words[i])


@kernel
def add_texts(address: Any, length: Any, out: Any) -> None:
    """Let the hashes in `out` (uint64[n]) go on with a byte string each; a null has the length -1."""
    for i in range(out.shape[0]):
        position = address[i]
        size = length[i]
        value = out[i] + _STEP + np.uint64(size)
        end = position + size
        while position + 8 <= end:
            value = _mixed(value ^ load_word(position))
            position += 8
        word = np.uint64(0)
        shift = np.uint64(0)
        while position < end:
            word |= load_byte(position) << shift
            shift += np.uint64(8)
            position += 1
        out[i] = _mixed(value ^ word)


@part
def _probe(value: Any, number: Any, bits: Any) -> Any:
    """The bit of a filter that a hash sets at its probe of this number."""
    other = _mixed(value ^ _PROBE_SEED)  # hashes of one segment are near each other
    step = _mixed(other) | np.uint64(1)
    return multiply_high(other + np.uint64(number) * step, np.uint64(bits))


@kernel
def fill_filter(hashes: Any, out: Any) -> None:
    """Set the bits of all hashes (uint64[n]) in a filter (uint8[m], zeros before)."""
    bits = out.shape[0] * 8
    for i in range(hashes.shape[0]):
        for number in range(PROBES):
            bit = _probe(hashes[i], number, bits)
            out[bit >> np.uint64(3)] |= np.uint8(1) << np.uint8(bit & np.uint64(7))


@kernel
def ask_filter(hashes: Any, low: Any, high: Any, filled: Any) -> Any:
    """Whether a filter may hold one of the hashes (uint64[n]) from `low` to `high`; False: surely none."""
    bits = filled.shape[0] * 8
    for i in range(hashes.shape[0]):
        value = hashes[i]
        if value < low or value > high:
            continue
        held = True
        for number in range(PROBES):
            bit = _probe(value, number, bits)
            if not (filled[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7))) & np.uint8(1):
                held = False
                break
        if held:
            return True
    return False

"""A 64-bit hash of keys of several columns, and filters of such hashes.

The finalizer is that of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
State on disk is ordered by these hashes: another function needs another format of the segments.
"""

from typing import Any, Final

import numpy as np

from app.codecs.kernel import kernel, part, quick_kernel
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


@part
def _with_text(value: Any, position: Any, size: Any) -> Any:
    value += _STEP + np.uint64(size)
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
    return _mixed(value ^ word)


@kernel
def add_words(words: Any, out: Any) -> None:
    """Let the hashes in `out` (uint64[n]) go on with a word each. words: uint64[n]."""
    for i in range(out.shape[0]):
        out[i] = _mixed(out[i] + _STEP + words[i])


@kernel
def add_texts(address: Any, length: Any, out: Any) -> None:
    """Let the hashes in `out` (uint64[n]) go on with a byte string each; a null has the length -1."""
    for i in range(address.shape[0]):
        out[i] = _with_text(out[i], address[i], length[i])


@part
def _held(value: Any, filled: Any) -> Any:
    """Whether all bits of a hash are set in a filter."""
    bits = np.uint64(filled.shape[0] * 8)
    place = _mixed(value ^ _PROBE_SEED)  # hashes of one segment are near each other
    step = _mixed(place) | np.uint64(1)
    for _ in range(PROBES):
        bit = multiply_high(place, bits)
        if not (filled[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7))) & np.uint8(1):
            return False
        place += step
    return True


@kernel
def fill_filter(hashes: Any, out: Any) -> None:
    """Set the bits of all hashes (uint64[n]) in a filter (uint8[m], zeros before)."""
    bits = np.uint64(out.shape[0] * 8)
    for i in range(hashes.shape[0]):
        place = _mixed(hashes[i] ^ _PROBE_SEED)
        step = _mixed(place) | np.uint64(1)
        for _ in range(PROBES):
            bit = multiply_high(place, bits)
            place += step
            out[bit >> np.uint64(3)] |= np.uint8(1) << np.uint8(bit & np.uint64(7))


@quick_kernel
def ask_filter(hashes: Any, low: Any, high: Any, filled: Any) -> Any:
    """Whether a filter may hold one of the hashes (uint64[n]) from `low` to `high`; False: surely none."""
    for i in range(hashes.shape[0]):  # noqa: SIM110 - compiled: a generator would cost
        if low <= hashes[i] <= high and _held(hashes[i], filled):
            return True
    return False


@quick_kernel
def find_hashes(wanted: Any, held: Any, which: Any, places: Any) -> Any:
    """Where the hashes `wanted` (uint64[n], each once, sorted) are in `held` (uint64[m], sorted); how many there are.

    Writes which of them it is and its place in `held` to two int64[k]; what has no room there is only counted.
    """
    found = 0
    low = 0
    for i in range(wanted.shape[0]):
        high = held.shape[0]
        while low < high:
            middle = (low + high) >> 1
            if held[middle] < wanted[i]:
                low = middle + 1
            else:
                high = middle
        while low < held.shape[0] and held[low] == wanted[i]:
            if found < which.shape[0]:
                which[found] = i
                places[found] = low
            found += 1
            low += 1
    return found


@quick_kernel
def text_hash(value: Any, text: Any, size: Any) -> Any:
    """Let one hash go on with the first `size` bytes of a text (uint8[n]), as `add_texts` does."""
    return _with_text(value, text.ctypes.data, size)


@quick_kernel
def word_hash(value: Any, word: Any) -> Any:
    """Let one hash go on with one word, as `add_words` does."""
    return _mixed(value + _STEP + word)


@quick_kernel
def equal_hashes(held: Any, wanted: Any) -> Any:
    """Where the hashes that equal one begin and end in `held` (uint64[n], sorted)."""
    low, high = 0, held.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if held[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    high = low
    while high < held.shape[0] and held[high] == wanted:
        high += 1
    return low, high

"""Where a key stands in the state: the 64-bit hash by which segments are ordered, and filters of it."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs.kernel import read_only
from app.codecs.key_hash_kernel import (
    add_texts,
    add_words,
    ask_filter,
    equal_hashes,
    fill_filter,
    find_hashes,
    text_hash,
    word_hash,
)
from app.codecs.texts import Texts

HASH_MAX: Final = (1 << 64) - 1
_NULL: Final = np.uint64(0x6E756C6C)
_FILTER_BITS_PER_KEY: Final = 10  # with six probes about one in a hundred asks in vain


def key_hashes(frame: pl.DataFrame, keys: Sequence[str]) -> npt.NDArray[np.uint64]:
    """The hash of each row's key: uint64[n]; equal keys have equal hashes, in every version and process.

    Keys are equal as Polars groups them: a null equals a null, 0.0 equals -0.0, all NaN are one.
    """
    out = np.zeros(len(frame), np.uint64)
    for name in keys:
        series = frame.get_column(name)
        if series.dtype.is_nested():
            series = frame.select(pl.struct(name).struct.json_encode()).to_series()
        if series.dtype in (pl.String, pl.Binary):
            texts = Texts.of(series)
            add_texts(read_only(texts.address), read_only(texts.length), out)
        else:
            add_words(read_only(_words(series)), out)
    return out


def key_hash(key: Sequence[str | int]) -> np.uint64:
    """The hash of one key of texts, whole numbers and booleans, as `key_hashes` has it for their columns."""
    value = np.uint64(0)
    for part in key:
        if isinstance(part, str):
            text = part.encode()
            held = np.frombuffer(text or b"-", np.uint8)
            value = np.uint64(text_hash(value, held, len(text)))
        else:
            value = np.uint64(word_hash(value, np.uint64(part & HASH_MAX)))
    return value


def _words(series: pl.Series) -> npt.NDArray[np.uint64]:
    """The values as 64 bits each."""
    if series.dtype.is_float():
        floats = series.cast(pl.Float64).to_numpy() + 0.0  # no -0.0
        words = np.where(np.isnan(floats), np.nan, floats).view(np.uint64)
    else:
        words = series.to_physical().cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64)
    if series.null_count():
        words = np.where(series.is_null().to_numpy(), _NULL, words)
    return words


def key_filter(hashes: npt.NDArray[np.uint64]) -> bytes:
    """A Bloom filter of these hashes."""
    out = np.zeros(max(8, (len(hashes) * _FILTER_BITS_PER_KEY + 7) // 8), np.uint8)
    fill_filter(read_only(hashes), out)
    return out.tobytes()


def any_held(hashes: npt.NDArray[np.uint64], low: int, high: int, filter_bytes: bytes) -> bool:
    """Whether one of the hashes is from `low` to `high` and may be in the filter; False: surely none is."""
    held = np.frombuffer(filter_bytes, np.uint8)
    return bool(ask_filter(read_only(hashes), np.uint64(low), np.uint64(high), held))


def found_hashes(
    wanted: npt.NDArray[np.uint64], held: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which of the hashes `wanted` (each once, sorted) are in `held` (sorted), and at which places there."""
    room = len(wanted)
    while True:
        which, places = np.empty(room, np.int64), np.empty(room, np.int64)
        found = find_hashes(read_only(wanted), read_only(held), which, places)
        if found <= room:
            return which[:found], places[:found]
        room = found


def equal_to(held: npt.NDArray[np.uint64], wanted: np.uint64) -> tuple[int, int]:
    """Where the hashes that equal one begin and end in `held`, which is sorted and read-only."""
    low, high = equal_hashes(held, wanted)
    return low, high

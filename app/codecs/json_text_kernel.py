"""The strings of JSON, eight bytes at a time, to Arrow string views.

Positions are addresses; -1 stands for "not sure". A word that starts before the end of a text may
be read to SLACK bytes beyond that end.
"""

from typing import Any, Final

import numpy as np

from app.codecs.kernel import part, subroutine
from app.codecs.words_kernel import load_byte, load_word, store_byte, store_word, trailing_zeros

_ONES: Final = np.uint64(0x0101010101010101)
_HIGHS: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES: Final = np.uint64(0x2020202020202020)

_INLINE_BYTES_MAX: Final = 12  # of an Arrow string view


@part
def text_end(position: Any, end: Any) -> Any:
    """(position of the quote that ends the text starting at `position`, whether it has escapes)."""
    escaped = False
    while position < end:
        word = load_word(position)
        quotes = word ^ _QUOTES
        backslashes = word ^ _BACKSLASHES
        stops = (
            ((quotes - _ONES) & ~quotes)
            | ((backslashes - _ONES) & ~backslashes)
            | ((word - _SPACES) & ~word)
            | word
        ) & _HIGHS
        if stops == np.uint64(0):
            position += 8
            continue
        position += trailing_zeros(stops) >> 3
        byte = load_byte(position)
        if byte == 0x22 and position < end:
            return position, escaped
        if byte >= 0x80:
            size = _utf8_size(position)
        elif byte == 0x5C:
            size = _escape_size(position)
            escaped = True
        else:
            break
        if size == 0:
            break
        position += size
    return np.int64(-1), escaped


@subroutine
def _utf8_size(position: Any) -> Any:
    """Bytes of the valid UTF-8 sequence of two to four bytes at `position`, or 0."""
    word = np.uint32(load_word(position))
    if (word & 0xC0E0) == 0x80C0:
        return 2 if (word & 0x1E) != 0 else 0
    if (word & 0xC0C0F0) == 0x8080E0:
        point = ((word & 0x0F) << 12) | ((word & 0x3F00) >> 2) | ((word & 0x3F0000) >> 16)
        return 3 if point >= 0x800 and not 0xD800 <= point <= 0xDFFF else 0
    if (word & 0xC0C0C0F8) == 0x808080F0:
        high = ((word & 0x07) << 6) | ((word & 0x3F00) >> 8)  # the code point's bits above 12
        return 4 if 0x10 <= high <= 0x10F else 0
    return 0


@subroutine
def _four_hex_digits(position: Any) -> Any:
    """Their value, or -1."""
    value = np.int64(0)
    for i in range(4):
        byte = np.int64(load_byte(position + i))
        if 0x30 <= byte <= 0x39:
            digit = byte - 0x30
        elif 0x61 <= byte | 0x20 <= 0x66:
            digit = (byte | 0x20) - 0x57
        else:
            return np.int64(-1)
        value = (value << 4) | digit
    return value


@subroutine
def _escaped_point(position: Any) -> Any:
    """The code point of the `\\uXXXX`, or of the two for a surrogate pair, at `position`, or -1."""
    point = _four_hex_digits(position + 2)
    if not 0xD800 <= point <= 0xDFFF:
        return point
    if point > 0xDBFF or load_byte(position + 6) != 0x5C or load_byte(position + 7) != 0x75:
        return np.int64(-1)
    low = _four_hex_digits(position + 8)
    if not 0xDC00 <= low <= 0xDFFF:
        return np.int64(-1)
    return 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00)


@subroutine
def _escaped_byte(letter: Any) -> Any:
    """What a backslash and this letter stand for, or 0."""
    if letter == 0x22 or letter == 0x5C or letter == 0x2F:
        return letter
    if letter == 0x6E:
        return np.uint64(0x0A)
    if letter == 0x74:
        return np.uint64(0x09)
    if letter == 0x72:
        return np.uint64(0x0D)
    if letter == 0x62:
        return np.uint64(0x08)
    if letter == 0x66:
        return np.uint64(0x0C)
    return np.uint64(0)


@subroutine
def _escape_size(position: Any) -> Any:
    """Bytes of the valid escape at `position`, or 0."""
    letter = load_byte(position + 1)
    if letter != 0x75:
        return 2 if _escaped_byte(letter) else 0
    point = _escaped_point(position)
    if point < 0:
        return 0
    return 6 if point < 0x10000 else 12


@subroutine
def _unescape(position: Any, end: Any, target: Any) -> Any:
    """Write the text from `position` to `end` without escapes to `target`; its length there."""
    start = target
    while position < end:
        byte = load_byte(position)
        position += 1
        if byte == 0x5C and load_byte(position) == 0x75:
            point = np.uint64(_escaped_point(position - 1))
            position += 5 if point < 0x10000 else 11
            target += _store_utf8(point, target)
            continue
        if byte == 0x5C:
            byte = _escaped_byte(load_byte(position))
            position += 1
        store_byte(target, byte)
        target += 1
    return target - start


@subroutine
def _store_utf8(point: Any, target: Any) -> Any:
    """Write a code point in UTF-8; the count of its bytes."""
    if point < 0x80:
        store_byte(target, point)
        return 1
    more = 1 if point < 0x800 else 2 if point < 0x10000 else 3
    mark = np.uint64(0xC0 if more == 1 else 0xE0 if more == 2 else 0xF0)
    store_byte(target, mark | (point >> np.uint64(6 * more)))
    for i in range(1, more + 1):
        bits = (point >> np.uint64(6 * (more - i))) & np.uint64(0x3F)
        store_byte(target + i, np.uint64(0x80) | bits)
    return more + 1


@part
def _low_bytes(word: Any, count: Any) -> Any:
    """The lowest `count` bytes of a word, zeros above; `count` may be more than 8."""
    if count >= 8:
        return word
    return word & ((np.uint64(1) << np.uint64(8 * count)) - np.uint64(1))


@part
def store_text(start: Any, stop: Any, escaped: Any, cell: Any, texts: Any, used: Any) -> Any:
    """Store the text from `start` to `stop` as an Arrow string view in the two words at `cell`.

    A long text goes to `texts` behind the bytes in use. Returns how many are in use now.
    """
    length = stop - start
    target = texts + used
    if escaped:
        length = _unescape(start, stop, target)
        start = target
    head = _low_bytes(load_word(start), min(length, 4)) << np.uint64(32)
    store_word(cell, head | np.uint64(length))
    if length <= _INLINE_BYTES_MAX:
        store_word(cell + 8, _low_bytes(load_word(start + 4), max(length - 4, 0)))
        return used
    store_word(cell + 8, np.uint64(used << 32))  # in the views' first buffer, at that offset
    if not escaped:
        for i in range(0, length, 8):
            store_word(target + i, load_word(start + i))
    return used + length

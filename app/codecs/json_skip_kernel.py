"""Passing over the JSON values that nobody asked for, with their syntax checked.

Positions are addresses; -1 stands for "not sure".
"""

from typing import Any, Final

import numpy as np

from app.codecs.json_scalars_kernel import after_blanks, number_end
from app.codecs.json_text_kernel import text_end
from app.codecs.kernel import subroutine
from app.codecs.words_kernel import load_byte, load_word

_TRUE: Final = np.uint64(int.from_bytes(b"true", "little"))
_FALSE: Final = np.uint64(int.from_bytes(b"false", "little"))
_NULL: Final = np.uint64(int.from_bytes(b"null", "little"))
_FOUR: Final = np.uint64(0xFFFFFFFF)
_FIVE: Final = np.uint64(0xFFFFFFFFFF)

NESTING_MAX: Final = 63  # one bit of a word per level


@subroutine
def value_end(position: Any, end: Any, nesting_max: Any) -> Any:
    """The position after the value at `position`, nested up to `nesting_max` levels."""
    objects = np.uint64(0)  # one bit per open level, the innermost lowest: object or array
    depth = 0
    while position < end:
        byte = load_byte(position)
        if byte == 0x7B or byte == 0x5B:
            if depth >= nesting_max:
                return np.int64(-1)
            depth += 1
            objects = (objects << np.uint64(1)) | np.uint64(byte == 0x7B)
            position = after_blanks(position + 1, end)
            empty = position < end and load_byte(position) == byte + np.uint64(2)
            if not empty:
                if byte == 0x7B:
                    position = _key_end(position, end)
                    if position < 0:
                        return position
                continue
        else:
            position = _scalar_end(position, end)
            if position < 0 or depth == 0:
                return position
        depth, objects, position = _close(depth, objects, position, end)
        if position < 0 or depth == 0:
            return position
        position = after_blanks(position + 1, end)  # after the comma
        if objects & np.uint64(1):
            position = _key_end(position, end)
            if position < 0:
                return position
    return np.int64(-1)


@subroutine
def _close(depth: Any, objects: Any, position: Any, end: Any) -> Any:
    """(depth, open levels, position of the next comma) behind a value and the levels it closes.

    Where all levels are closed, the position is the one behind the last of them.
    """
    while depth > 0:
        position = after_blanks(position, end)
        if position >= end:
            break
        byte = load_byte(position)
        if byte == 0x2C:
            return depth, objects, position
        if byte != (0x7D if objects & np.uint64(1) else 0x5D):
            break
        depth -= 1
        objects >>= np.uint64(1)
        position += 1
    return depth, objects, (position if depth == 0 else np.int64(-1))


@subroutine
def _key_end(position: Any, end: Any) -> Any:
    """The position of the value behind the key at `position`."""
    if position >= end or load_byte(position) != 0x22:
        return np.int64(-1)
    position, _ = text_end(position + 1, end)
    if position < 0:
        return position
    position = after_blanks(position + 1, end)
    if position >= end or load_byte(position) != 0x3A:
        return np.int64(-1)
    return after_blanks(position + 1, end)


@subroutine
def _scalar_end(position: Any, end: Any) -> Any:
    """The position after the scalar at `position`."""
    if load_byte(position) == 0x22:
        stop, _ = text_end(position + 1, end)
        return stop + 1 if stop >= 0 else np.int64(-1)
    word = load_word(position)
    if (word & _FOUR) == _TRUE or (word & _FOUR) == _NULL:
        return position + 4
    if (word & _FIVE) == _FALSE:
        return position + 5
    return number_end(position, end)

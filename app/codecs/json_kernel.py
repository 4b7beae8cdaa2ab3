"""The kernel that takes flat JSON objects apart into columns.

It walks each object along a template: the pieces of text between the values of an earlier object
(`,"user":`), compared eight bytes at a time. Where a piece differs, the key is searched for among
the fields, and the walk goes on behind that field's place in the template. An object that holds
anything of which the kernel is not sure that msgspec accepts it is left to msgspec.

All positions are addresses; -1 stands for "not sure".
"""

from typing import Any, Final

import numpy as np

from app.codecs.json_scalars_kernel import after_blanks, floating, integer
from app.codecs.json_skip_kernel import value_end
from app.codecs.json_text_kernel import store_text, text_end
from app.codecs.kernel import SLACK, kernel, part, subroutine
from app.codecs.words_kernel import load_byte, load_word, store_byte, store_float, store_word

TEXT, INTEGER, FLOAT, BOOLEAN = range(4)

# A template's row (uint64): the words of one piece of text, the masks of these words, the piece's
# length in bytes, and the index of the field that follows it, or OTHER.
PIECE_WORDS: Final = 4
PIECE_LENGTH: Final = 2 * PIECE_WORDS
PIECE_FIELD: Final = PIECE_LENGTH + 1
PIECE_SIZE: Final = PIECE_FIELD + 1

# A field's row (int64). COLUMN is -1 if the field is not wanted, PLACE its row in the template or
# -1. The default is what its cell or its two cells hold, if DEFAULT_VALID is not 0.
KIND, NULLABLE, COLUMN, PLACE, NAME_START, NAME_LENGTH, DEFAULT_VALID, DEFAULT, DEFAULT_TAIL = (
    range(9)
)
FIELD_SIZE: Final = 9

OTHER, CLOSED = -1, -2  # instead of a field: a key that is no field's, the end of the object

_TRUE: Final = np.uint64(int.from_bytes(b"true", "little"))
_FALSE: Final = np.uint64(int.from_bytes(b"false", "little"))
_NULL: Final = np.uint64(int.from_bytes(b"null", "little"))
_FOUR: Final = np.uint64(0xFFFFFFFF)
_FIVE: Final = np.uint64(0xFFFFFFFFFF)


@kernel
def decode(
    buffer: Any,
    starts: Any,
    lengths: Any,
    limit: Any,
    scratch: Any,
    plan: Any,
    out: Any,
    unsure: Any,
) -> Any:
    """Write the wanted fields of each object to their columns.

    An object that ends less than SLACK bytes before the buffer's end is read from a copy in
    `scratch`, if it fits with SLACK bytes to spare.
    `plan` is (template, fields, names, required, others): the tables described above, the field
    names' bytes, the set of required fields, and how deep the values of unknown keys may be
    nested, -1 if there may be none.
    `out` is (cells, valid, texts): int64[columns, 2n] for integers, floats, booleans and, in two
    cells, Arrow string views; bool[columns, n], made false for nulls; uint8 for the texts of the
    views. `unsure` (bool[n]) says what is left to msgspec, objects of more than `limit` bytes
    among it.
    Returns (objects left to msgspec, bytes of text in use, keys that the template missed).
    """
    template, fields, names, required, others = plan
    cells, valid, texts = out
    count = starts.shape[0]
    base, last = np.int64(buffer.ctypes.data), buffer.shape[0] - SLACK
    plan_at = (
        np.int64(template.ctypes.data),
        template.shape[0],
        np.int64(fields.ctypes.data),
        np.int64(names.ctypes.data),
    )
    columns = (
        np.int64(cells.ctypes.data),
        np.int64(valid.ctypes.data),
        np.int64(texts.ctypes.data),
        count,
    )
    field_count = fields.shape[0]
    every = (np.uint64(1) << np.uint64(field_count)) - np.uint64(1)
    used = np.int64(0)
    left = 0
    misses = 0
    for row in range(count):
        start, length = starts[row], lengths[row]
        room = start + length <= last
        if 2 <= length <= limit and (room or length + SLACK <= scratch.shape[0]):
            start += base
            if not room:
                start = _copy(start, length, np.int64(scratch.ctypes.data))
            seen, end_used, missed = _object(
                start, start + length, plan_at, field_count, others, columns, row, used
            )
            misses += missed
            if end_used >= 0 and (seen & required) == required:
                if seen != every:
                    _fill_defaults(np.int64(fields.ctypes.data), field_count, seen, columns, row)
                used = end_used
                unsure[row] = False
                continue
        unsure[row] = True
        left += 1
    return left, used, misses


@subroutine
def _copy(start: Any, length: Any, target: Any) -> Any:
    """Copy bytes to the address `target`, which it returns."""
    for i in range(length):
        store_byte(target + i, load_byte(start + i))
    return target


@part
def _object(
    position: Any,
    end: Any,
    plan: Any,
    field_count: Any,
    others: Any,
    columns: Any,
    row: Any,
    used: Any,
) -> Any:
    """(fields seen as bits, bytes of text in use or -1 if unsure, keys missed)."""
    template, pieces, fields, names = plan
    seen = np.uint64(0)
    place = np.int64(0)
    misses = 0
    first = True
    while position < end:
        piece = template + place * (8 * PIECE_SIZE)
        if place < pieces and _matches(position, end, piece):
            field = np.int64(load_word(piece + 8 * PIECE_FIELD))
            position += np.int64(load_word(piece + 8 * PIECE_LENGTH))
            place += 1
            if load_byte(position) <= 0x20:
                position = after_blanks(position, end)
                misses += 1
        elif not first and position + 1 == end and load_byte(position) == 0x7D:
            return seen, used, misses
        else:
            field, position = _search(position, end, first, fields, field_count, names)
            if field == CLOSED and position == end:
                return seen, used, misses
            if position < 0 or field == CLOSED:
                break
            misses += 1
            if field >= 0:
                found = np.int64(load_word(fields + 8 * (field * FIELD_SIZE + PLACE)))
                place = found + 1 if found >= 0 else place
            place = max(place, np.int64(1))  # the first piece has the opening brace
        first = False
        if field >= 0:
            bit = np.uint64(1) << np.uint64(field)
            if seen & bit:
                break
            seen |= bit
            position, used = _value(
                position, end, fields + field * (8 * FIELD_SIZE), columns, row, used
            )
        else:
            position = value_end(position, end, others) if others >= 0 else -1
        if position < 0:
            break
    return seen, np.int64(-1), misses


@part
def _matches(position: Any, end: Any, piece: Any) -> Any:
    """Whether the piece of a template's row is at `position`."""
    length = np.int64(load_word(piece + 8 * PIECE_LENGTH))
    if position + length > end:
        return False
    while length > 0:
        mask = load_word(piece + 8 * PIECE_WORDS)
        if (load_word(position) ^ load_word(piece)) & mask:
            return False
        length -= 8
        position += 8
        piece += 8
    return True


@subroutine
def _search(position: Any, end: Any, first: Any, fields: Any, field_count: Any, names: Any) -> Any:
    """(field or OTHER, position of its value), or (CLOSED, position behind), or (OTHER, -1)."""
    unsure = np.int64(OTHER), np.int64(-1)
    position = after_blanks(position, end)
    if position >= end:
        return unsure
    if not first and load_byte(position) == 0x7D:
        return np.int64(CLOSED), after_blanks(position + 1, end)
    if load_byte(position) != (0x7B if first else 0x2C):
        return unsure
    position = after_blanks(position + 1, end)
    if position >= end:
        return unsure
    if first and load_byte(position) == 0x7D:
        return np.int64(CLOSED), after_blanks(position + 1, end)
    if load_byte(position) != 0x22:
        return unsure
    start = position + 1
    stop, escaped = text_end(start, end)
    if stop < 0 or escaped:
        return unsure
    position = after_blanks(stop + 1, end)
    if position >= end or load_byte(position) != 0x3A:
        return unsure
    position = after_blanks(position + 1, end)
    return _field_named(start, stop - start, fields, field_count, names), position


@subroutine
def _field_named(start: Any, length: Any, fields: Any, field_count: Any, names: Any) -> Any:
    """The field of that name, or OTHER."""
    for field in range(field_count):
        row = fields + field * (8 * FIELD_SIZE)
        if np.int64(load_word(row + 8 * NAME_LENGTH)) == length:
            name = names + np.int64(load_word(row + 8 * NAME_START))
            same = 0
            while same < length and load_byte(start + same) == load_byte(name + same):
                same += 1
            if same == length:
                return np.int64(field)
    return np.int64(OTHER)


@part
def _value(position: Any, end: Any, field: Any, columns: Any, row: Any, used: Any) -> Any:
    """Store the value at `position`; (position after it or -1, bytes of text in use)."""
    kind = np.int64(load_word(field + 8 * KIND))
    column = np.int64(load_word(field + 8 * COLUMN))
    cell = columns[0] + 8 * (2 * columns[3] * column + row)
    if kind == TEXT:
        if load_byte(position) == 0x22:
            stop, escaped = text_end(position + 1, end)
            if stop < 0:
                return stop, used
            if column >= 0:
                used = store_text(position + 1, stop, escaped, cell + 8 * row, columns[2], used)
            return stop + 1, used
    elif kind == INTEGER:
        number, after = integer(position)
        if after >= 0:
            if column >= 0:
                store_word(cell, np.uint64(number))
            return after, used
    elif kind == FLOAT:
        real, after = floating(position)
        if after >= 0:
            if column >= 0:
                store_float(cell, real)
            return after, used
    else:
        true = (load_word(position) & _FOUR) == _TRUE
        if true or (load_word(position) & _FIVE) == _FALSE:
            if column >= 0:
                store_word(cell, np.uint64(true))
            return position + (4 if true else 5), used
    if load_word(field + 8 * NULLABLE) and (load_word(position) & _FOUR) == _NULL:
        if column >= 0:
            _store_default(kind, False, np.uint64(0), np.uint64(0), columns, column, row)
        return position + 4, used
    return np.int64(-1), used


@subroutine
def _store_default(
    kind: Any, valid: Any, head: Any, tail: Any, columns: Any, column: Any, row: Any
) -> None:
    """Store the cell or the two cells of a value, and whether it is valid."""
    cells, valids, _, count = columns
    store_byte(valids + count * column + row, np.uint64(valid))
    cell = cells + 8 * (2 * count * column + row)
    if kind == TEXT:
        store_word(cell + 8 * row, head)
        store_word(cell + 8 * row + 8, tail)
    else:
        store_word(cell, head)


@subroutine
def _fill_defaults(fields: Any, field_count: Any, seen: Any, columns: Any, row: Any) -> None:
    """Store the defaults of the fields that an object does not have."""
    for index in range(field_count):
        field = fields + index * (8 * FIELD_SIZE)
        column = np.int64(load_word(field + 8 * COLUMN))
        if column >= 0 and not seen & (np.uint64(1) << np.uint64(index)):
            _store_default(
                np.int64(load_word(field + 8 * KIND)),
                load_word(field + 8 * DEFAULT_VALID) != 0,
                load_word(field + 8 * DEFAULT),
                load_word(field + 8 * DEFAULT_TAIL),
                columns,
                column,
                row,
            )

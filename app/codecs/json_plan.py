"""What the JSON kernel needs to know of an event type, and the template it learns from events."""

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import inspect as kinds

from app.codecs import json_kernel as kernel
from app.codecs.json_skip_kernel import NESTING_MAX

_KINDS: Final = {
    kinds.StrType: kernel.TEXT,
    kinds.IntType: kernel.INTEGER,
    kinds.FloatType: kernel.FLOAT,
    kinds.BoolType: kernel.BOOLEAN,
}
_PLAIN_KINDS: Final = {
    kinds.StrType: kinds.StrType(),
    kinds.IntType: kinds.IntType(),
    kinds.FloatType: kinds.FloatType(),
    kinds.BoolType: kinds.BoolType(),
}
_FIELDS_MAX: Final = 63
INLINE_BYTES_MAX: Final = 12
_BLANK: Final = rb"[ \t\r\n]*"
_KEY_AND_VALUE: Final = (
    _BLANK
    + rb'"([\x20\x21\x23-\x5b\x5d-\x7f]*)"'
    + _BLANK
    + rb":"
    + _BLANK
    + rb')("[^"\\]*"|[^][{},"\s]+)'
)
_FIRST_MEMBER: Final = re.compile(rb"(" + _BLANK + rb"\{" + _KEY_AND_VALUE)
_MEMBER: Final = re.compile(rb"(" + _BLANK + rb"," + _KEY_AND_VALUE)


class Tables(NamedTuple):
    """The kernel's plan, as it takes it: see `json_kernel.decode`."""

    template: npt.NDArray[np.uint64]
    fields: npt.NDArray[np.int64]
    names: npt.NDArray[np.uint8]
    required: np.uint64
    others: int


@dataclass(frozen=True)
class Plan:
    """The kernel's tables for one event type, and the texts of long defaults."""

    tables: Tables
    names: tuple[bytes, ...]
    columns: tuple[int, ...]  # the kind of each wanted column
    nullable: tuple[bool, ...]  # whether each wanted column may hold nulls
    texts: bytes

    def learned(self, event: bytes) -> "Plan":
        """This plan with the order and the spelling of an event's keys as the template."""
        pieces: list[tuple[bytes, bytes]] = []
        position = 0
        while match := (_MEMBER if pieces else _FIRST_MEMBER).match(event, position):
            pieces.append((match[1], match[2]))
            position = match.end()
        return self._with_pieces(pieces)

    def expecting_fields(self) -> "Plan":
        """This plan with all fields in their order, without white space, as the template."""
        pieces = [
            (b',"%b":' % name if index else b'{"%b":' % name, name)
            for index, name in enumerate(self.names)
        ]
        return self._with_pieces(pieces)

    def _with_pieces(self, pieces: Sequence[tuple[bytes, bytes]]) -> "Plan":
        fields = self.tables.fields.copy()
        fields[:, kernel.PLACE] = -1
        rows: list[list[int]] = []
        for piece, name in pieces:
            if len(piece) > 8 * kernel.PIECE_WORDS:
                break
            field = self.names.index(name) if name in self.names else kernel.OTHER
            if field >= 0:
                fields[field, kernel.PLACE] = len(rows)
            rows.append(_piece_row(piece, field))
        template = np.array(rows, np.uint64).reshape(len(rows), kernel.PIECE_SIZE)
        return replace(self, tables=self.tables._replace(template=template, fields=fields))


def plan_for(event: type[msgspec.Struct], columns: Sequence[str], depth_max: int) -> Plan | None:
    """The plan for an event type, or None if it has anything beyond flat, plain fields."""
    config = event.__struct_config__
    if config.array_like or config.tag is not None or hasattr(event, "__post_init__"):
        return None
    declared = msgspec.structs.fields(event)
    if not 0 < len(declared) <= _FIELDS_MAX:
        return None
    rows: list[list[int]] = []
    texts, nullables = bytearray(), []
    required = 0
    names = tuple(field.encode_name.encode() for field in declared)
    starts = np.cumsum([0, *map(len, names)])
    for index, field in enumerate(declared):
        shape = _shape(field.type)
        if shape is None:
            return None
        kind, nullable = shape
        default = _default(field, kind, texts)
        if default is None:
            required |= 1 << index
        valid, head, tail = default or (True, 0, 0)
        nullables.append(nullable or not valid)
        column = columns.index(field.name) if field.name in columns else -1
        rows.append(
            [kind, nullable, column, -1, starts[index], len(names[index]), valid, head, tail]
        )
    by_name = {field.name: index for index, field in enumerate(declared)}
    wanted = [by_name[name] for name in columns]
    plan = Plan(
        tables=Tables(
            template=np.empty((0, kernel.PIECE_SIZE), np.uint64),
            fields=np.array(rows, np.int64),
            names=np.frombuffer(b"".join(names), np.uint8),
            required=np.uint64(required),
            others=-1 if config.forbid_unknown_fields else min(depth_max, NESTING_MAX) - 1,
        ),
        names=names,
        columns=tuple(rows[index][kernel.KIND] for index in wanted),
        nullable=tuple(nullables[index] for index in wanted),
        texts=bytes(texts),
    )
    return plan.expecting_fields()


def text_view(text: bytes, offset: int) -> tuple[int, int]:
    """The Arrow string view of a text, as two int64; a long one is at `offset` of buffer 1."""
    if len(text) <= INLINE_BYTES_MAX:
        view = struct.pack("<i12s", len(text), text)
    else:
        view = struct.pack("<i4sii", len(text), text[:4], 1, offset)
    head, tail = struct.unpack("<qq", view)
    return head, tail


def _shape(annotation: Any) -> tuple[int, bool] | None:
    """(kind, whether null is allowed) of a plain field, or None of any other."""
    kind = kinds.type_info(annotation)
    nullable = False
    if isinstance(kind, kinds.UnionType):
        others = [item for item in kind.types if not isinstance(item, kinds.NoneType)]
        if len(others) != 1 or len(kind.types) != 2:
            return None
        kind, nullable = others[0], True
    if type(kind) not in _KINDS or kind != _PLAIN_KINDS[type(kind)]:
        return None  # another type, or one with constraints
    return _KINDS[type(kind)], nullable


def _default(field: Any, kind: int, texts: bytearray) -> tuple[bool, int, int] | None:
    """(whether it is not None, its first cell, its second cell) of a field's default.

    None if the field is required, or if its default is msgspec's to make.
    """
    value = field.default
    if value is None:
        return False, 0, 0
    if kind == kernel.TEXT and type(value) is str:
        try:
            text = value.encode()
        except UnicodeEncodeError:
            return None
        view = text_view(text, len(texts))
        texts += text
        return True, *view
    if kind == kernel.BOOLEAN and type(value) is bool:
        return True, int(value), 0
    if kind == kernel.INTEGER and type(value) is int and -(2**63) <= value < 2**63:
        return True, value, 0
    if kind == kernel.FLOAT and type(value) in (float, int) and math.isfinite(value):
        return True, struct.unpack("<q", struct.pack("<d", value))[0], 0
    return None


def _piece_row(piece: bytes, field: int) -> list[int]:
    size = 8 * kernel.PIECE_WORDS
    words = struct.unpack(f"<{kernel.PIECE_WORDS}Q", piece.ljust(size, b"\0"))
    masks = struct.unpack(f"<{kernel.PIECE_WORDS}Q", (b"\xff" * len(piece)).ljust(size, b"\0"))
    return [*words, *masks, len(piece), field % 2**64]

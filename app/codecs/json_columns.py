"""JSON events to columns, checked as msgspec checks them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs.json_msgspec import MsgspecDecoder

VALUE_BYTES_MAX = 1 << 20
DEPTH_MAX = 64


class Rejected(NamedTuple):
    """A value that is not a valid event: its row among the given ones, and why."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The valid events as columns, in the order given.

    `rows` (int64[n]) maps the frame's rows to the given ones; None: all of them.
    """

    frame: pl.DataFrame
    rows: npt.NDArray[np.int64] | None
    rejected: list[Rejected]


class JsonColumns:
    """Decodes the JSON of one event type to those of its fields that somebody uses."""

    def __init__(
        self,
        struct: type[msgspec.Struct],
        columns: Sequence[str],
        *,
        value_bytes_max: int = VALUE_BYTES_MAX,
        depth_max: int = DEPTH_MAX,
    ) -> None:
        """`columns` are names of fields; all fields are checked whether in `columns` or not.

        A value longer or nested deeper than the limits is rejected. Raises ValueError for a
        column that is not a field.
        """
        unknown = sorted(set(columns) - set(struct.__struct_fields__))
        if unknown:
            raise ValueError(f"{struct.__name__} has no field {', '.join(unknown)}")
        self.columns = tuple(columns)
        self._msgspec = MsgspecDecoder(struct, value_bytes_max=value_bytes_max, depth_max=depth_max)

    def decode(
        self,
        buffer: npt.NDArray[np.uint8],
        value_start: npt.NDArray[np.int64],
        value_length: npt.NDArray[np.int64],
    ) -> Decoded:
        """The values buffer[start:start + length] as columns; a length of -1 is a null."""
        return self.decode_with_msgspec(buffer, value_start, value_length)

    def decode_with_msgspec(
        self,
        buffer: npt.NDArray[np.uint8],
        value_start: npt.NDArray[np.int64],
        value_length: npt.NDArray[np.int64],
    ) -> Decoded:
        """What `decode` gives, by msgspec alone."""
        _check_bounds(buffer, value_start, value_length)
        view = memoryview(np.ascontiguousarray(buffer))  # type: ignore[arg-type]
        values = [
            bytes(view[start : start + length]) if length >= 0 else None
            for start, length in zip(value_start.tolist(), value_length.tolist(), strict=True)
        ]
        events = self._msgspec.decode(values)
        rejected = [
            Rejected(row, event) for row, event in enumerate(events) if isinstance(event, str)
        ]
        if not rejected:
            return Decoded(self._msgspec.frame(events, self.columns), None, rejected)
        rows = [row for row, event in enumerate(events) if not isinstance(event, str)]
        frame = self._msgspec.frame([events[row] for row in rows], self.columns)
        return Decoded(frame, np.array(rows, np.int64), rejected)


def _check_bounds(
    buffer: npt.NDArray[np.uint8],
    value_start: npt.NDArray[np.int64],
    value_length: npt.NDArray[np.int64],
) -> None:
    if not len(value_start):
        return
    if value_start.min() < 0 or (value_start + value_length).max() > len(buffer):
        raise ValueError("a value reaches beyond the buffer")


def warm_up() -> None:
    """Compile every kernel, or load it from numba's cache; until then `decode` uses msgspec."""

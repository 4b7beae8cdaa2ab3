"""JSON events to columns, checked as msgspec checks them."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs.hash_groups import hash_groups
from app.codecs.json_by_kernel import KernelDecoder
from app.codecs.json_msgspec import MsgspecDecoder, Rejected, split
from app.codecs.json_plan import plan_for
from app.codecs.json_writer import json_texts
from app.codecs.kernel import read_only
from app.codecs.key_hash import (
    HASH_MAX,
    any_held,
    equal_to,
    found_hashes,
    key_filter,
    key_hash,
    key_hashes,
)
from app.codecs.murmur2 import partitions
from app.codecs.record_batch import Fetch, event_types, parse
from app.codecs.record_writer import RecordColumns, write_batches
from app.codecs.texts import Texts

__all__ = ["Decoded", "JsonColumns", "Rejected", "warm_up"]

VALUE_BYTES_MAX = 1 << 20
DEPTH_MAX = 64

_kernels_ready = Event()

# one record with the key "k", the value b'{"text":"a"}' and the header ce_type=sample
_BATCH: Final = bytes.fromhex(
    "000000000000000000000054ffffffff0257ee610a00000000000000000000000000000000000000"
    "000000ffffffffffffffffffffffffffff0000000144000000026b187b2274657874223a2261227d"
    "020e63655f747970650c73616d706c65"
)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The valid events as columns, in the order given.

    `rows` (int64[n]) maps the frame's rows to the given ones; None: all of them. `fallback`: how many
    events the kernel was not sure of and left to msgspec.
    """

    frame: pl.DataFrame
    rows: npt.NDArray[np.int64] | None
    rejected: list[Rejected]
    fallback: int = 0


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
        plan = plan_for(struct, self.columns, depth_max)
        self._kernel = None if plan is None else KernelDecoder(plan, self.columns, self._msgspec)

    def decode(
        self,
        buffer: npt.NDArray[np.uint8],
        value_start: npt.NDArray[np.int64],
        value_length: npt.NDArray[np.int64],
    ) -> Decoded:
        """The values buffer[start:start + length] as columns; a length of -1 is a null.

        Raises ValueError if a value reaches beyond the buffer. May be called in any thread.
        """
        if self._kernel is None or not _kernels_ready.is_set():
            return self.decode_with_msgspec(buffer, value_start, value_length)
        return self.decode_with_kernel(buffer, value_start, value_length)

    def decode_with_kernel(
        self,
        buffer: npt.NDArray[np.uint8],
        value_start: npt.NDArray[np.int64],
        value_length: npt.NDArray[np.int64],
    ) -> Decoded:
        """What `decode` gives, by the kernel wherever it is sure.

        Raises TypeError if the event type has fields that the kernel does not know, ValueError as
        `decode` does, and for more than 2 GiB of values.
        """
        if self._kernel is None:
            raise TypeError("the kernel knows flat events of str, int, float and bool only")
        _check_bounds(buffer, value_start, value_length)
        return Decoded(*self._kernel.decode(buffer, value_start, value_length))

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
        accepted, rejected = split(range(len(events)), events)
        frame = self._msgspec.frame([events[row] for row in accepted], self.columns)
        rows = np.array(accepted, np.int64) if rejected else None
        return Decoded(frame, rows, rejected)


def _check_bounds(
    buffer: npt.NDArray[np.uint8],
    value_start: npt.NDArray[np.int64],
    value_length: npt.NDArray[np.int64],
) -> None:
    if not len(value_start):
        return
    size = len(buffer)
    # each for itself too: the sum of two huge numbers may be a small one
    if (
        value_start.min() < 0
        or max(value_start.max(), value_length.max()) > size
        or (value_start + value_length).max() > size
    ):
        raise ValueError("a value reaches beyond the buffer")


class _Sample(msgspec.Struct):
    text: str


def warm_up() -> None:
    """Compile every kernel, or load it from numba's cache; until then JSON is left to msgspec.

    To be called once, in a thread of its own: it takes about ten seconds when nothing is cached.
    """
    fetch = Fetch("warm-up", 0, 0, 1, _BATCH)
    records = parse(fetch, check_crc=True)
    event_types(records, ["sample"])
    partitions(pl.Series(["key"]), 1)
    decoder = JsonColumns(_Sample, ["text"])
    decoder.decode_with_kernel(records.buffer, records.value_start, records.value_length)
    text = Texts.of(pl.Series(["text"]))
    json = json_texts(pl.DataFrame({"text": ["a"]}))
    columns = RecordColumns("warm-up", text, json, np.zeros(1, np.int64), text, ())
    next(write_batches(columns, 1)).sealed(0, 0, 0)
    hashes = key_hashes(pl.DataFrame({"text": ["a"], "number": [1]}), ["text", "number"])
    any_held(hashes, 0, HASH_MAX, key_filter(hashes))
    found_hashes(hashes, hashes)
    equal_to(read_only(hashes), key_hash(("a", 1)))
    groups = hash_groups(hashes)
    groups.reduce(np.zeros(1, np.int64), "sum")
    groups.reduce(np.zeros(1, np.float64), "sum")
    _kernels_ready.set()

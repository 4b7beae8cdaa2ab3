"""The records of a fetch as columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from app.codecs.kernel import read_only
from app.codecs.record_batch_kernel import PLAIN, classify

_STRUCTURED_JSON: Final = b"application/cloudevents+json"


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """The visible records of a fetch: int64[n] columns over `buffer` (uint8[bytes]).

    A length of -1 is a null. `timestamp` is in milliseconds.
    """

    buffer: npt.NDArray[np.uint8]
    offset: npt.NDArray[np.int64]
    timestamp: npt.NDArray[np.int64]
    key_start: npt.NDArray[np.int64]
    key_length: npt.NDArray[np.int64]
    value_start: npt.NDArray[np.int64]
    value_length: npt.NDArray[np.int64]
    header_start: npt.NDArray[np.int64]
    header_count: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offset)

    def key(self, row: int) -> bytes | None:
        """The key of one record."""
        return self._bytes(int(self.key_start[row]), int(self.key_length[row]))

    def value(self, row: int) -> bytes | None:
        """The value of one record."""
        return self._bytes(int(self.value_start[row]), int(self.value_length[row]))

    def headers(self, row: int) -> list[tuple[str, bytes | None]]:
        """The headers of one record in their order; a name that is not UTF-8 is escaped."""
        position, headers = int(self.header_start[row]), []
        for _ in range(int(self.header_count[row])):
            length, start = self._varint(position)
            name = self._bytes(start, length) or b""
            length, start = self._varint(start + length)
            headers.append((name.decode(errors="backslashreplace"), self._bytes(start, length)))
            position = start + max(length, 0)
        return headers

    def _bytes(self, start: int, length: int) -> bytes | None:
        return None if length < 0 else self.buffer[start : start + length].tobytes()

    def _varint(self, position: int) -> tuple[int, int]:
        """(value, next position) of a zigzag varint that `parse` has checked."""
        value = shift = 0
        while True:
            byte = int(self.buffer[position])
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1), position


def with_first_header(records: Records, name: bytes) -> npt.NDArray[np.int64]:
    """int64[k]: the records whose first header has this name, of fewer than 64 bytes."""
    head = np.frombuffer(bytes([len(name) << 1]) + name, np.uint8)
    first = records.buffer.take(records.header_start, mode="clip")
    rows = np.flatnonzero((first == head[0]) & (records.header_count > 0))  # hardly ever one
    rows = rows[records.header_start[rows] + len(head) <= len(records.buffer)]
    for position, byte in enumerate(head):
        rows = rows[records.buffer[records.header_start[rows] + position] == byte]
    return rows


def event_types(records: Records, names: Sequence[str]) -> npt.NDArray[np.int16]:
    """int16[n]: the index in `names` of each record's `ce_type` header.

    UNKNOWN: a type that is not in `names`. Without that header, STRUCTURED if the content-type
    header says that the value is a whole CloudEvent in JSON, else PLAIN.
    """
    out = np.full(len(records), PLAIN, np.int16)
    if records.header_count.any():
        texts = [_STRUCTURED_JSON, *(name.encode() for name in names)]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        classify(
            read_only(records.buffer),
            read_only(records.header_start),
            read_only(records.header_count),
            np.frombuffer(b"".join(texts), np.uint8),
            ends,
            out,
        )
    return out

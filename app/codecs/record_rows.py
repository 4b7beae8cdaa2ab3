"""Single records to Kafka record batches (message format 2): segments, dead letters and the like.

They are few, or large, and come as Python values; what comes as columns goes through `record_writer`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from app.codecs.compression import LZ4, NONE, compress
from app.codecs.record_writer import BATCH_BYTES_MAX, UnsentBatch, varint

_SEGMENT_BYTES: Final = 32 << 10
"""Segments that are so large on the average hold little that is not compressed already."""


class Row(NamedTuple):
    """A record. time: its timestamp, in ms."""

    key: bytes | None
    value: bytes | None
    time: int
    headers: Sequence[tuple[str, bytes | None]]


def row_batches(
    topic: str, partition: int, rows: Iterable[Row], *, segments: bool = False
) -> Iterator[UnsentBatch]:
    """Batches in the order of the rows, of at most BATCH_BYTES_MAX before compression, or of one row that is larger.

    segments: the values are compressed already.
    """
    parts: list[bytes] = []
    times: list[int] = []
    size = 0
    for row in rows:
        record = _record(row, len(times), row.time - times[0] if times else 0)
        length = sum(map(len, record))
        if times and size + length > BATCH_BYTES_MAX:
            yield _batch(topic, partition, times, parts, segments)
            parts, times, size = [], [], 0
            record = _record(row, 0, 0)
        parts += record
        times.append(row.time)
        size += length
    if times:
        yield _batch(topic, partition, times, parts, segments)


def _batch(
    topic: str, partition: int, times: Sequence[int], parts: Sequence[bytes], segments: bool
) -> UnsentBatch:
    codec, raw = NONE, b"".join(parts)
    payload = raw
    if not segments or len(raw) < _SEGMENT_BYTES * len(times):
        packed = compress(LZ4, memoryview(raw))
        if len(packed) < len(raw):
            codec, payload = LZ4, packed
    return UnsentBatch(topic, partition, len(times), times[0], max(times), codec, payload)


def _record(row: Row, number: int, delta_ms: int) -> list[bytes]:
    """The bytes of a record, in pieces; number: of its batch."""
    attributes = b"\0"
    pieces = [attributes, varint(delta_ms), varint(number), *_sized(row.key), *_sized(row.value)]
    pieces.append(varint(len(row.headers)))
    for name, value in row.headers:
        pieces += [*_sized(name.encode()), *_sized(value)]
    return [varint(sum(map(len, pieces))), *pieces]


def _sized(text: bytes | None) -> tuple[bytes, ...]:
    return (varint(-1),) if text is None else (varint(len(text)), text)

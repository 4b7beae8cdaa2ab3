"""Kafka record batches (message format 2) to columns.

The format is Kafka's own: https://kafka.apache.org/documentation/#recordbatch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

import numpy as np
import numpy.typing as npt

from app.codecs import record_batch_kernel as kernel
from app.codecs.compression import decompress
from app.codecs.crc32c_kernel import crc32c
from app.codecs.record_batch_kernel import PLAIN, STRUCTURED, UNKNOWN
from app.codecs.records import Records, event_types
from app.codecs.words_kernel import SLACK, read_only

__all__ = [
    "PLAIN",
    "STRUCTURED",
    "UNKNOWN",
    "CorruptRecordBatch",
    "Fetch",
    "Records",
    "event_types",
    "parse",
]

# base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first timestamp,
# largest timestamp, producer id, producer epoch, base sequence, count of records
_HEADER: Final = Struct(">qiibIhiqqqhii")
_LENGTH_END: Final = 12  # the batch's length counts from here
_MAGIC_AT: Final = 16
_CHECKED_FROM: Final = 21  # the checksum covers the attributes and all that follows
_RECORD_BYTES_MIN: Final = 7

DECOMPRESSED_BYTES_MAX = 1 << 30
_EXPECTED_RATIO: Final = 8  # of decompressed to compressed bytes; memory not touched costs nothing

_CODEC_MASK: Final = 0x07
_LOG_APPEND_TIME: Final = 0x08
_TRANSACTIONAL: Final = 0x10
_CONTROL: Final = 0x20

_ERRORS: Final = {
    kernel.BAD_VARINT: "a variable-length integer is damaged or cut",
    kernel.BAD_LENGTH: "a record reaches beyond its batch",
    kernel.BAD_KEY: "a key reaches beyond its record",
    kernel.BAD_VALUE: "a value reaches beyond its record",
    kernel.BAD_HEADERS: "the headers of a record are damaged",
    kernel.BAD_END: "a record is longer than its fields",
    kernel.BAD_COUNT: "bytes are left after the last record",
}


class CorruptRecordBatch(ValueError):
    """The bytes of a fetch are not what Kafka's format says; says where and what is wrong."""

    def __init__(self, topic: str, partition: int, offset: int, reason: str) -> None:
        super().__init__(f"{topic}[{partition}] at offset {offset}: {reason}")
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetch:
    """The unparsed answer to one fetch of one partition.

    `start` is the offset asked for, `end` the next one to ask for; `aborted` holds (producer id,
    first offset) of the aborted transactions, empty where uncommitted records are wanted.
    """

    topic: str
    partition: int
    start: int
    end: int
    raw: bytes
    aborted: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Batch:
    """One batch's header, and where its records are in the fetch."""

    offset: int
    attributes: int
    first_timestamp: int
    timestamp_max: int
    producer: int
    count: int
    checksum: int
    start: int
    end: int


def parse(
    fetch: Fetch, *, check_crc: bool, decompressed_bytes_max: int = DECOMPRESSED_BYTES_MAX
) -> Records:
    """The visible records of a fetch, in the order of their offsets.

    Left out: control batches, aborted transactions, records before `fetch.start`, and the last
    batch if it is cut. Raises CorruptRecordBatch, also for a fetch that decompresses to more than
    `decompressed_bytes_max`. Without `check_crc`, damage that leaves the
    structure intact goes unnoticed.
    """
    batches = list(_batches(fetch))
    if check_crc:
        _check_crc(fetch, batches)
    visible = list(_committed(fetch, batches, decompressed_bytes_max))
    buffer, starts, ends = _decompressed(fetch, visible, decompressed_bytes_max)
    for batch, start, end in zip(visible, starts, ends, strict=True):
        if not 0 <= batch.count <= (end - start) // _RECORD_BYTES_MIN:
            raise _corrupt(fetch, batch, f"{batch.count} records do not fit into the batch")
    out = np.empty((8, sum(batch.count for batch in visible)), np.int64)
    appended = [bool(batch.attributes & _LOG_APPEND_TIME) for batch in visible]
    rows, error, at = kernel.walk(
        buffer,
        np.array(starts, np.int64),
        np.array(ends, np.int64),
        np.array([batch.count for batch in visible], np.int64),
        np.array([batch.offset for batch in visible], np.int64),
        np.array(
            [
                batch.timestamp_max if broker else batch.first_timestamp
                for batch, broker in zip(visible, appended, strict=True)
            ],
            np.int64,
        ),
        np.array([not broker for broker in appended], np.int64),
        fetch.start,
        out,
    )
    if error != kernel.GOOD:
        raise _corrupt(fetch, visible[at], _ERRORS[error])
    return Records(buffer, *out[:, :rows])


def _corrupt(fetch: Fetch, batch: _Batch, reason: str) -> CorruptRecordBatch:
    return CorruptRecordBatch(fetch.topic, fetch.partition, batch.offset, reason)


def _batches(fetch: Fetch) -> Iterator[_Batch]:
    """The headers of the complete batches of a fetch."""
    raw, position = fetch.raw, 0
    while len(raw) - position > _MAGIC_AT:
        offset, length = (
            int.from_bytes(raw[position : position + 8], "big", signed=True),
            int.from_bytes(raw[position + 8 : position + _LENGTH_END], "big", signed=True),
        )
        end = position + _LENGTH_END + length
        magic = raw[position + _MAGIC_AT]
        wrong = None
        if length < 0:
            wrong = f"a batch of {length} bytes"
        elif end > len(raw):
            return
        elif magic != 2:
            wrong = (
                f"message format {magic} is not supported: only 2, Kafka's own since 0.11 "
                "(rewrite the topic, or set its log.message.format.version)"
            )
        elif length < _HEADER.size - _LENGTH_END:
            wrong = f"a batch of {length} bytes is too short for its header"
        if wrong:
            raise CorruptRecordBatch(fetch.topic, fetch.partition, offset, wrong)
        fields = _HEADER.unpack_from(raw, position)
        yield _Batch(
            offset=offset,
            checksum=fields[4],
            attributes=fields[5],
            first_timestamp=fields[7],
            timestamp_max=fields[8],
            producer=fields[9],
            count=fields[12],
            start=position + _HEADER.size,
            end=end,
        )
        position = end


def _check_crc(fetch: Fetch, batches: Sequence[_Batch]) -> None:
    ends = np.array([batch.end for batch in batches], np.int64)
    starts = np.array([batch.start for batch in batches], np.int64) - (_HEADER.size - _CHECKED_FROM)
    found = np.empty(len(batches), np.uint32)
    crc32c(np.frombuffer(fetch.raw, np.uint8), starts, ends, found)
    for batch, checksum in zip(batches, found.tolist(), strict=True):
        if batch.checksum != checksum:
            reason = f"the checksum is {checksum:08x}, the batch says {batch.checksum:08x}"
            raise _corrupt(fetch, batch, reason)


def _committed(fetch: Fetch, batches: Sequence[_Batch], bytes_max: int) -> Iterator[_Batch]:
    """The batches of records but those of aborted transactions, as Kafka's own consumer does.

    A transaction is aborted from its first offset to the abort marker of its producer.
    """
    pending = sorted(fetch.aborted, key=lambda item: item[1], reverse=True)
    aborted: set[int] = set()
    for batch in batches:
        while pending and pending[-1][1] <= batch.offset:
            aborted.add(pending.pop()[0])
        if batch.attributes & _CONTROL:
            if batch.producer in aborted and _is_abort_marker(fetch, batch, bytes_max):
                aborted.discard(batch.producer)
        elif not (batch.attributes & _TRANSACTIONAL and batch.producer in aborted):
            yield batch


def _is_abort_marker(fetch: Fetch, batch: _Batch, bytes_max: int) -> bool:
    """Whether the one record of a control batch has the key of an abort (version, type 0)."""
    buffer, starts, ends = _decompressed(fetch, [batch], bytes_max)
    out = np.empty((8, 1), np.int64)
    one, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
    rows, error, _ = kernel.walk(
        buffer, np.array(starts), np.array(ends), one, zero, zero, zero, 0, out
    )
    if error != kernel.GOOD or rows != 1 or out[3, 0] < 4:
        raise _corrupt(fetch, batch, "a control batch without a marker")
    key = buffer[out[2, 0] : out[2, 0] + 4].tobytes()
    return key[2:] == b"\0\0"


def _decompressed(
    fetch: Fetch, batches: Sequence[_Batch], bytes_max: int
) -> tuple[npt.NDArray[np.uint8], list[int], list[int]]:
    """One buffer with the records of all batches, and where those of each start and end."""
    if not any(batch.attributes & _CODEC_MASK for batch in batches):
        buffer = np.frombuffer(fetch.raw, np.uint8)
        return buffer, [batch.start for batch in batches], [batch.end for batch in batches]
    raw = memoryview(fetch.raw)
    compressed = sum(batch.end - batch.start for batch in batches)
    buffer = np.empty(min(_EXPECTED_RATIO * compressed, bytes_max), np.uint8)
    bounds = [0]
    for batch in batches:
        codec, data = batch.attributes & _CODEC_MASK, raw[batch.start : batch.end]
        try:
            buffer, used = decompress(codec, data, buffer, bounds[-1], bytes_max)
        except ValueError as error:
            raise _corrupt(fetch, batch, str(error)) from error
        bounds.append(used)
    # a few readable bytes behind the last record spare the JSON kernel a copy
    buffer = buffer[: bounds[-1] + SLACK]
    buffer[bounds[-1] :] = 0
    return read_only(buffer), bounds[:-1], bounds[1:]

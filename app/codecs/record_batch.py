"""Kafka record batches (message format 2) to columns.

The format is Kafka's own: https://kafka.apache.org/documentation/#recordbatch.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from app.codecs import record_batch_kernel as kernel
from app.codecs.buffers import Buffers
from app.codecs.compression import decompress
from app.codecs.crc32c_kernel import crc32c
from app.codecs.kernel import SLACK, read_only
from app.codecs.record_batch_kernel import PLAIN, STRUCTURED, UNKNOWN
from app.codecs.records import Records, event_types

__all__ = [
    "DECOMPRESSED_BYTES_MAX",
    "PLAIN",
    "STRUCTURED",
    "UNKNOWN",
    "CorruptRecordBatch",
    "Fetch",
    "Records",
    "event_types",
    "parse",
]

_CHECKED_BYTES: Final = 40  # of the header: the checksum covers its attributes and all behind
_RECORD_BYTES_MIN: Final = 7

DECOMPRESSED_BYTES_MAX = 1 << 30
_EXPECTED_RATIO: Final = 8  # of decompressed to compressed bytes; memory not touched costs nothing
_BUFFER_BYTES_MIN: Final = 1 << 16
_BUFFERS: Final = Buffers(spare_bytes_max=64 << 20)

_MARKER_BYTES: Final = 4
_OFFSET_MIN: Final = -(2**63)

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

_Table: TypeAlias = npt.NDArray[np.int64]


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
    raw: bytes | memoryview
    aborted: tuple[tuple[int, int], ...] = ()


def parse(
    fetch: Fetch, *, check_crc: bool, decompressed_bytes_max: int = DECOMPRESSED_BYTES_MAX
) -> Records:
    """The visible records of a fetch, in the order of their offsets.

    Left out: control batches, aborted transactions, records before `fetch.start`, and the last
    batch if it is cut. Raises CorruptRecordBatch, also for a fetch that decompresses to more than
    `decompressed_bytes_max`. Without `check_crc`, damage that leaves the structure intact goes
    unnoticed.
    """
    batches = _scan(fetch)
    if check_crc:
        _check_crc(fetch, batches)
    if fetch.aborted or (batches[kernel.ATTRIBUTES] & _CONTROL).any():
        visible = _visible(fetch, batches, decompressed_bytes_max)
        batches = np.ascontiguousarray(batches[:, visible])
    buffer, bounds = _decompressed(fetch, batches, decompressed_bytes_max)
    return Records(buffer, *_walk(fetch, batches, buffer, bounds, fetch.start))


def _corrupt(fetch: Fetch, offset: int, reason: str) -> CorruptRecordBatch:
    return CorruptRecordBatch(fetch.topic, fetch.partition, int(offset), reason)


def _scan(fetch: Fetch) -> _Table:
    """The headers of the complete batches of a fetch: int64[fields of the kernel, batches]."""
    raw = np.frombuffer(fetch.raw, np.uint8)
    table = np.empty((kernel.BATCH_FIELDS, len(raw) // kernel.HEADER_BYTES + 1), np.int64)
    count, error, offset, fact = kernel.scan(raw, table)
    if error == kernel.BAD_FORMAT:
        raise _corrupt(
            fetch,
            offset,
            f"message format {fact} is not supported, only 2, which Kafka has had since 0.11: "
            "write the topic anew with a current producer",
        )
    if error == kernel.BAD_BATCH_LENGTH:
        raise _corrupt(fetch, offset, f"a batch cannot have a length of {fact} bytes")
    return table[:, :count]


def _check_crc(fetch: Fetch, batches: _Table) -> None:
    expected = batches[kernel.CHECKSUM]
    found = np.empty(len(expected), np.uint32)
    starts = batches[kernel.START] - _CHECKED_BYTES
    crc32c(np.frombuffer(fetch.raw, np.uint8), starts, batches[kernel.END], found)
    if (found != expected).any():
        at = int(np.flatnonzero(found != expected)[0])
        reason = f"the checksum is {found[at]:08x}, the batch says {expected[at]:08x}"
        raise _corrupt(fetch, batches[kernel.BASE_OFFSET, at], reason)


def _visible(fetch: Fetch, batches: _Table, bytes_max: int) -> list[int]:
    """The batches that hold records of transactions that were not aborted, or of none.

    A transaction is aborted from its first offset to the abort marker of its producer, as in
    Kafka's own consumer.
    """
    pending = sorted(fetch.aborted, key=lambda item: item[1], reverse=True)
    aborted: set[int] = set()
    visible = []
    fields = batches[[kernel.BASE_OFFSET, kernel.ATTRIBUTES, kernel.PRODUCER]].T.tolist()
    for at, (offset, attributes, producer) in enumerate(fields):
        while pending and pending[-1][1] <= offset:
            aborted.add(pending.pop()[0])
        if attributes & _CONTROL:
            if producer in aborted and _is_abort_marker(fetch, batches[:, [at]], bytes_max):
                aborted.discard(producer)
        elif not (attributes & _TRANSACTIONAL and producer in aborted):
            visible.append(at)
    return visible


def _is_abort_marker(fetch: Fetch, batch: _Table, bytes_max: int) -> bool:
    """Whether the record of a control batch has the key of an abort: a version, then type 0."""
    batch = np.ascontiguousarray(batch)
    buffer, bounds = _decompressed(fetch, batch, bytes_max)
    columns = _walk(fetch, batch, buffer, bounds, _OFFSET_MIN)
    start, length = columns[kernel.KEY], columns[kernel.KEY + 1]
    if len(start) != 1 or length[0] < _MARKER_BYTES:
        raise _corrupt(fetch, batch[kernel.BASE_OFFSET, 0], "a control batch without a marker")
    return buffer[start[0] :][:_MARKER_BYTES].tobytes()[2:] == b"\0\0"


def _decompressed(
    fetch: Fetch, batches: _Table, bytes_max: int
) -> tuple[npt.NDArray[np.uint8], _Table]:
    """One buffer with the records of all batches, and where they start and end: int64[2, n]."""
    bounds = batches[kernel.START : kernel.END + 1]
    codecs = batches[kernel.ATTRIBUTES] & _CODEC_MASK
    if not codecs.any():
        return np.frombuffer(fetch.raw, np.uint8), bounds
    raw = memoryview(fetch.raw)
    size = max(_EXPECTED_RATIO * int((bounds[1] - bounds[0]).sum()), _BUFFER_BYTES_MIN)
    buffer = _BUFFERS.lend(min(size, bytes_max))
    ends = [0]
    for at, (codec, start, end) in enumerate(zip(codecs.tolist(), *bounds.tolist(), strict=True)):
        try:
            buffer, used = decompress(codec, raw[start:end], buffer, ends[-1], bytes_max)
        except ValueError as error:
            raise _corrupt(fetch, batches[kernel.BASE_OFFSET, at], str(error)) from error
        ends.append(used)
    # a few readable bytes behind the last record spare the JSON kernel a copy
    buffer = buffer[: ends[-1] + SLACK]
    buffer[ends[-1] :] = 0
    return read_only(buffer), np.array([ends[:-1], ends[1:]], np.int64)


def _walk(
    fetch: Fetch,
    batches: _Table,
    buffer: npt.NDArray[np.uint8],
    bounds: _Table,
    first_offset: int,
) -> _Table:
    """The columns of the records from `first_offset` on, as in `Records`: int64[8, n]."""
    offsets, counts = batches[kernel.BASE_OFFSET], batches[kernel.COUNT]
    too_many = (counts < 0) | (counts > (bounds[1] - bounds[0]) // _RECORD_BYTES_MIN)
    if too_many.any():
        at = int(np.flatnonzero(too_many)[0])
        raise _corrupt(fetch, offsets[at], f"{counts[at]} records do not fit into the batch")
    appended = (batches[kernel.ATTRIBUTES] & _LOG_APPEND_TIME) != 0
    out = np.empty((kernel.COLUMNS, int(counts.sum())), np.int64)
    rows, error, at = kernel.walk(
        buffer,
        bounds[0],
        bounds[1],
        counts,
        offsets,
        np.where(appended, batches[kernel.TIMESTAMP_MAX], batches[kernel.FIRST_TIMESTAMP]),
        np.where(appended, 0, 1),
        first_offset,
        out,
    )
    if error != kernel.GOOD:
        raise _corrupt(fetch, offsets[at], _ERRORS[error])
    return out[:, :rows]

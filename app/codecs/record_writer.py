"""Columns to Kafka record batches (message format 2): no Python object per record.

The format is Kafka's own: https://kafka.apache.org/documentation/#recordbatch.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from app.codecs.compression import LZ4, compress
from app.codecs.crc32c_kernel import crc32c
from app.codecs.kernel import read_only
from app.codecs.murmur2 import place
from app.codecs.record_writer_kernel import VARINT_BYTES_MAX, write
from app.codecs.texts import Texts

BATCH_BYTES_MAX: Final = 768 << 10
"""Of a batch's records as they are sent: below Kafka's default limit (`max.message.bytes`)."""
_TIMES_MAX: Final = 5
"""So many times as large a batch's records may be before compression."""
_MARGIN: Final = 0.9

_HEAD: Final = struct.Struct(">qiibI")
_BODY: Final = struct.Struct(">hiqqqhii")
_CHECKED_FROM: Final = _HEAD.size
_MAGIC: Final = 2
_TRANSACTIONAL: Final = 0x10
_FIXED_BYTES_MAX: Final = 1 + 8 * VARINT_BYTES_MAX
_ID: Final = b"ce_id"


@dataclass(frozen=True, slots=True, eq=False)
class RecordColumns:
    """Records for one topic, as columns of n rows.

    key: None, or a null in it: no key. timestamp: int64[n], ms. headers: those that all records have in common.
    id: no null in it; behind `id_prefix` it is the value of each record's header `ce_id`, which comes first.
    """

    topic: str
    key: Texts | None
    value: Texts
    timestamp: npt.NDArray[np.int64]
    id: Texts
    headers: Sequence[tuple[str, bytes]]
    id_prefix: bytes = b""

    def __len__(self) -> int:
        return len(self.value)


@dataclass(frozen=True, slots=True)
class UnsentBatch:
    """A record batch that lacks only what its producer adds. payload: the records, compressed with `codec`."""

    topic: str
    partition: int
    count: int
    first_timestamp: int
    timestamp_max: int
    codec: int
    payload: bytes

    def sealed(self, producer_id: int = -1, epoch: int = -1, sequence: int = -1) -> bytearray:
        """The bytes that go to the broker, as part of this producer's transaction; -1: of none."""
        size = _HEAD.size + _BODY.size + len(self.payload)
        batch = bytearray(size)
        _BODY.pack_into(
            batch,
            _CHECKED_FROM,
            self.codec | (0 if producer_id < 0 else _TRANSACTIONAL),
            self.count - 1,
            self.first_timestamp,
            self.timestamp_max,
            producer_id,
            epoch,
            sequence,
            self.count,
        )
        batch[_HEAD.size + _BODY.size :] = self.payload
        checksum = np.empty(1, np.uint32)
        bounds = np.array([_CHECKED_FROM]), np.array([size])
        crc32c(read_only(np.frombuffer(batch, np.uint8)), *bounds, checksum)
        _HEAD.pack_into(batch, 0, 0, size - 12, 0, _MAGIC, int(checksum[0]))
        return batch


class Packing:
    """How much goes into a batch, by how well the batches before it were compressed.

    batch_bytes_max: of a batch as it is sent; a request costs by the batch, so each takes what it can.
    """

    def __init__(self, batch_bytes_max: int = BATCH_BYTES_MAX) -> None:
        self.batch_bytes_max = batch_bytes_max
        self.raw_bytes_max = _TIMES_MAX * batch_bytes_max

    def fits(self, raw: int, packed: int) -> bool:
        """Whether so many bytes may be sent as so few; False: it must be less, and `raw_bytes_max` says how much."""
        fitting = int(_MARGIN * self.batch_bytes_max * raw / packed)
        self.raw_bytes_max = min(
            max(self.batch_bytes_max, fitting), _TIMES_MAX * self.batch_bytes_max
        )
        return packed <= self.batch_bytes_max or raw <= self.batch_bytes_max


def write_batches(
    records: RecordColumns,
    partition_count: int,
    *,
    keyless_partition: int = 0,
    packing: Packing | None = None,
) -> Iterator[UnsentBatch]:
    """Batches of a bounded size; of each partition in the records' order, in turn.

    A key is placed by murmur2; records without one go to `keyless_partition`. A record that is larger
    than a batch may be stands alone in its own. packing: what is known of earlier batches of such records.
    """
    if not len(records):
        return
    target = _targets(records, partition_count, keyless_partition)
    order = np.argsort(target, kind="stable")
    bounds = np.searchsorted(target[order], np.arange(partition_count + 1))
    writer = _Writer(records, packing or Packing())
    yield from in_turn(
        writer.batches(partition, order[bounds[partition] : bounds[partition + 1]])
        for partition in range(partition_count)
    )


def in_turn(partitions: Iterable[Iterator[UnsentBatch]]) -> Iterator[UnsentBatch]:
    """One batch of each partition in turn, so that one request can carry one of each."""
    running = list(partitions)
    while running:
        for batches in list(running):
            batch = next(batches, None)
            if batch is None:
                running.remove(batches)
            else:
                yield batch


def _targets(
    records: RecordColumns, partition_count: int, keyless_partition: int
) -> npt.NDArray[np.uint16] | npt.NDArray[np.int32]:
    """The partition of each record, in a type whose sorting is one of counting (Kafka has few enough)."""
    keyless = keyless_partition % partition_count
    target = np.full(len(records), keyless, np.int32)
    if records.key is not None:
        place(records.key, partition_count, target)
    return target.astype(np.uint16) if partition_count <= 1 << 16 else target


class _Writer:
    """Writes the batches of one set of columns through one buffer."""

    def __init__(self, records: RecordColumns, packing: Packing) -> None:
        self._records = records
        count = len(records)
        key = Texts.nulls(count) if records.key is None else records.key
        self._columns = [
            read_only(array)
            for texts in (key, records.value, records.id)
            for array in (texts.address, texts.length)
        ]
        self._id_prefix = np.frombuffer(records.id_prefix, np.uint8)
        self._before = np.frombuffer(varint(1 + len(records.headers)) + _text(_ID), np.uint8)
        common = b"".join(_text(name.encode()) + _text(value) for name, value in records.headers)
        self._after = np.frombuffer(common, np.uint8)
        self._timestamp = read_only(records.timestamp)
        longest = sum(int(length.max()) for length in self._columns[1::2])
        common_bytes = len(self._before) + len(self._id_prefix) + len(self._after)
        room = longest + common_bytes + _FIXED_BYTES_MAX
        self._packing = packing
        self._out = np.empty(max(_TIMES_MAX * packing.batch_bytes_max, room), np.uint8)

    def batches(self, partition: int, rows: npt.NDArray[np.int64]) -> Iterator[UnsentBatch]:
        """The batches of one partition."""
        rows = read_only(rows)
        first = 0
        while first < len(rows):
            after, size = self._write(rows, first, self._out[: self._packing.raw_bytes_max])
            if after == first:  # larger than a batch: alone, with all the room there is
                after, size = self._write(rows[: first + 1], first, self._out)
            payload = compress(LZ4, memoryview(self._out)[:size])  # type: ignore[arg-type]
            if not self._packing.fits(size, len(payload)) and after > first + 1:
                continue
            times = self._timestamp[rows[first:after]]
            yield UnsentBatch(
                self._records.topic,
                partition,
                after - first,
                int(times[0]),
                int(times.max()),
                LZ4,
                payload,
            )
            first = after

    def _write(
        self, rows: npt.NDArray[np.int64], first: int, out: npt.NDArray[np.uint8]
    ) -> tuple[int, int]:
        after, size = write(
            *self._columns,
            self._id_prefix,
            self._before,
            self._after,
            self._timestamp,
            rows,
            first,
            out,
        )
        return int(after), int(size)


def varint(value: int) -> bytes:
    """A number of 64 bits as Kafka's zigzag varint."""
    rest, out = (value << 1) ^ (value >> 63), bytearray()
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _text(text: bytes) -> bytes:
    return varint(len(text)) + text

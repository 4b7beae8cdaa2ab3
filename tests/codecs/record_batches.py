"""Record batches as a broker would hand them out, made with aiokafka's builder."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cramjam
from aiokafka.codec import snappy_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from app.codecs.record_writer import UnsentBatch

HEADER_BYTES = 61
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
TRANSACTIONAL, LOG_APPEND_TIME, CONTROL = 0x10, 0x08, 0x20
COMMIT_MARKER, ABORT_MARKER = b"\0\0\0\1", b"\0\0\0\0"

Headers = list[tuple[str, bytes | None]]


@dataclass
class Record:
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = field(default_factory=list)


def lz4_frame(data: bytes) -> bytes:
    compressor = cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False)
    compressor.compress(data)
    return bytes(compressor.finish())


COMPRESSORS = {
    GZIP: lambda data: bytes(cramjam.gzip.compress(data)),
    SNAPPY: lambda data: bytes(cramjam.snappy.compress_raw(data)),
    LZ4: lz4_frame,
    ZSTD: lambda data: bytes(cramjam.zstd.compress(data)),
}


def build_batch(
    records: Sequence[Record],
    *,
    base_offset: int = 0,
    codec: int = NONE,
    producer: int = -1,
    flags: int = 0,
    timestamp_max: int | None = None,
    xerial: bool = False,
) -> bytes:
    """One batch; `flags` are set in its attributes beside the codec."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=NONE,
        is_transactional=bool(flags & TRANSACTIONAL),
        producer_id=producer,
        producer_epoch=0,
        base_sequence=0,
        batch_size=1 << 30,
    )
    for offset, record in enumerate(records):
        builder.append(offset, record.timestamp, record.key, record.value, record.headers)
    raw = bytes(builder.build())
    body = raw[HEADER_BYTES:]
    if codec:
        compress = snappy_encode if xerial else COMPRESSORS[codec]
        body = bytes(compress(body))
    header = bytearray(raw[:HEADER_BYTES])
    struct.pack_into(">q", header, 0, base_offset)
    struct.pack_into(">h", header, 21, codec | flags)
    if timestamp_max is not None:
        struct.pack_into(">q", header, 35, timestamp_max)
    return sealed(bytes(header) + body)


def control_batch(base_offset: int, producer: int, marker: bytes) -> bytes:
    """The marker that ends a transaction."""
    return build_batch(
        [Record(key=marker, value=b"\0\0\0\0\0\0")],
        base_offset=base_offset,
        producer=producer,
        flags=CONTROL | TRANSACTIONAL,
    )


def sealed(raw: bytes) -> bytes:
    """The batch with its length and checksum made right."""
    batch = bytearray(raw)
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
    return bytes(batch)


def read(batch: UnsentBatch, **producer: int) -> list[tuple[Any, ...]]:
    """Key, value, timestamp and headers of each record, as aiokafka reads them. producer: as `sealed` takes it."""
    raw = MemoryRecords(bytes(batch.sealed(**producer)))
    found = raw.next_batch()
    assert found is not None
    assert found.validate_crc()
    rows = [(r.offset, r.key, r.value, r.timestamp, r.headers) for r in found]
    assert [offset for offset, *_ in rows] == list(range(batch.count))
    assert raw.next_batch() is None
    return [row[1:] for row in rows]

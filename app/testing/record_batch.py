"""Kafka record batches as a broker stores them, so that tests go through the real decoder."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from app.engine.processing.checkpoint import Record

_CRC_AT, _ATTRIBUTES_AT = 17, 21
_CONTROL = 0x20
_ABORTED, _COMMITTED = 0, 1
_BYTES_MAX = 1 << 30


def encode(records: Sequence[Record], base_offset: int, *, producer: int | None = None) -> bytes:
    """One uncompressed record batch whose first record has the offset `base_offset`.

    producer: the id of the transactional producer; None: not part of a transaction.
    A record without a timestamp gets -1, Kafka's "none".
    """
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=producer is not None,
        producer_id=-1 if producer is None else producer,
        producer_epoch=-1 if producer is None else 0,
        base_sequence=-1 if producer is None else 0,
        batch_size=_BYTES_MAX,
    )
    for number, record in enumerate(records):
        builder.append(
            number,
            timestamp=-1 if record.timestamp is None else record.timestamp,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
        )
    return struct.pack(">q", base_offset) + bytes(builder.build())[8:]


def transaction_marker(base_offset: int, producer: int, *, committed: bool) -> bytes:
    """The control batch that ends a transaction on a partition."""
    key = struct.pack(">hh", 0, _COMMITTED if committed else _ABORTED)
    marker = Record("", key, struct.pack(">hi", 0, 0))
    batch = bytearray(encode([marker], base_offset, producer=producer))
    (attributes,) = struct.unpack_from(">h", batch, _ATTRIBUTES_AT)
    struct.pack_into(">h", batch, _ATTRIBUTES_AT, attributes | _CONTROL)
    struct.pack_into(">I", batch, _CRC_AT, calc_crc32c(bytes(batch[_ATTRIBUTES_AT:])))
    return bytes(batch)

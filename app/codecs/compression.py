"""The compression codecs of Kafka's record batches."""

from collections.abc import Callable
from typing import Any

import cramjam

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16  # the magic, a version and a compatible version


def decompress(codec: int, data: memoryview) -> Any:
    """The bytes of `data` as an object with the buffer protocol; `codec` as in the attributes.

    Raises ValueError when the data is not of that codec or the codec is not known.
    """
    if not 0 < codec < len(CODECS):
        raise ValueError(f"unknown compression codec {codec}")
    try:
        return _DECOMPRESS[codec](data)
    except (cramjam.DecompressionError, ValueError, OverflowError) as error:
        raise ValueError(f"{CODECS[codec]} data is damaged: {error}") from error


def _snappy(data: memoryview) -> Any:
    """Raw snappy, or Java's framing of it (xerial): big-endian block length, block, and so on."""
    if data[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        return cramjam.snappy.decompress_raw(data)
    blocks = []
    position = _XERIAL_HEADER_BYTES
    while position < len(data):
        start = position + 4
        position = start + int.from_bytes(data[start - 4 : start], "big", signed=True)
        if not start <= position <= len(data):
            raise ValueError("a block reaches beyond the end")
        blocks.append(bytes(cramjam.snappy.decompress_raw(data[start:position])))
    return b"".join(blocks)


_DECOMPRESS: tuple[Callable[[memoryview], Any], ...] = (
    bytes,
    cramjam.gzip.decompress,
    _snappy,
    cramjam.lz4.decompress,
    cramjam.zstd.decompress,
)

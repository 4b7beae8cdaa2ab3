"""The compression codecs of Kafka's record batches."""

from collections.abc import Callable
from typing import Any, Final

import cramjam
import numpy as np
import numpy.typing as npt

CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
NONE: Final = CODECS.index("none")
LZ4: Final = CODECS.index("lz4")

_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16  # the magic, a version and a compatible version
_GROWTH: Final = 4

# An LZ4 frame without checksums (the batch has one), of blocks that do not depend on each other: Kafka's
# reader knows no others. The last byte of the header is its own checksum.
_LZ4_HEADER: Final = bytes.fromhex("04224d18 6060 51")
_LZ4_BLOCK_BYTES: Final = 1 << 20
_LZ4_STORED: Final = 1 << 31
_LZ4_END: Final = bytes(4)


def decompress(
    codec: int, data: memoryview, buffer: npt.NDArray[np.uint8], used: int, bytes_max: int
) -> tuple[npt.NDArray[np.uint8], int]:
    """Decompress into `buffer` behind its first `used` bytes.

    `codec` is the number in a batch's attributes. Returns the buffer, another and longer one with
    the same first bytes if it had to grow, and how many of its bytes are in use now. Raises
    ValueError if the codec is not known, if the data is damaged, or if more than `bytes_max` bytes
    would be in use.
    """
    if not 0 <= codec < len(CODECS):
        raise ValueError(f"unknown compression codec {codec}")
    while True:
        try:
            return buffer, used + _DECOMPRESS[codec](data, buffer[used:])
        except (cramjam.DecompressionError, ValueError, OverflowError) as error:
            # the libraries do not tell damage and a short buffer apart
            if len(buffer) >= bytes_max:
                reason = f"is damaged, or takes more than {bytes_max} bytes: {error}"
                raise ValueError(f"{CODECS[codec]} data {reason}") from error
        longer = np.empty(min(_GROWTH * len(buffer), bytes_max), np.uint8)
        longer[:used] = buffer[:used]
        buffer = longer


def _copy(data: Any, target: Any) -> int:
    if len(data) > len(target):  # numpy would spread one byte over no room without a word
        raise ValueError("the buffer is too short")
    target[: len(data)] = np.frombuffer(data, np.uint8)
    return len(data)


def _snappy(data: Any, target: Any) -> int:
    """Raw snappy, or Java's framing of it (xerial): big-endian block length, block, and so on."""
    if data[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        return int(cramjam.snappy.decompress_raw_into(data, target))
    written, position = 0, _XERIAL_HEADER_BYTES
    while position < len(data):
        start = position + 4
        position = start + int.from_bytes(data[start - 4 : start], "big", signed=True)
        if not start <= position <= len(data):
            raise ValueError("a block reaches beyond the end")
        block = data[start:position]
        written += cramjam.snappy.decompress_raw_into(block, target[written:])
    return written


_DECOMPRESS: Final[tuple[Callable[[Any, Any], int], ...]] = (
    _copy,
    cramjam.gzip.decompress_into,
    _snappy,
    cramjam.lz4.decompress_into,
    cramjam.zstd.decompress_into,
)


def compress(codec: int, data: memoryview) -> bytes:
    """Compress for a record batch; NONE and LZ4 are what we write. Other threads go on meanwhile."""
    if codec == NONE:
        return bytes(data)
    assert codec == LZ4
    frame = [_LZ4_HEADER]
    for start in range(0, len(data), _LZ4_BLOCK_BYTES):
        block = data[start : start + _LZ4_BLOCK_BYTES]
        packed = cramjam.lz4.compress_block(block, store_size=False)
        if len(packed) < len(block):
            frame += [len(packed).to_bytes(4, "little"), bytes(packed)]
        else:
            frame += [(len(block) | _LZ4_STORED).to_bytes(4, "little"), bytes(block)]
    return b"".join([*frame, _LZ4_END])

# mypy: disable-error-code="untyped-decorator"
"""CRC-32C (Castagnoli): the processor's instruction where it has one, else slicing by eight."""

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.extending import intrinsic

from app.codecs.kernel import kernel, part
from app.codecs.words_kernel import load_byte, load_word

_POLYNOMIAL = 0x82F63B78  # reversed


def _has_instruction() -> bool:
    """Whether kernels may use SSE4.2: numba compiles for this very processor, which has it."""
    if config.CPU_NAME or config.CPU_FEATURES:
        return False
    return bool(binding.get_host_cpu_features().get("sse4.2", False))


def _tables() -> np.ndarray:
    """uint32[8, 256]: row k advances the checksum of a byte followed by k zero bytes."""
    tables = np.zeros((8, 256), np.uint32)
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        tables[0, byte] = value
    for row in range(1, 8):
        tables[row] = (tables[row - 1] >> 8) ^ tables[0][tables[row - 1] & 0xFF]
    return tables


TABLES = _tables()


@intrinsic
def _advance_instruction(typingctx: Any, checksum: Any, word: Any) -> Any:
    """The SSE4.2 instruction over eight bytes."""
    signature = types.uint64(types.uint64, types.uint64)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        function = builder.module.declare_intrinsic(
            "llvm.x86.sse42.crc32.64.64", (), ir.FunctionType(word, [word, word])
        )
        return builder.call(function, arguments)

    return signature, codegen


@part
def _advance_tables(checksum: Any, word: Any) -> Any:
    """Slicing by eight (Kounavis and Berry, 2005)."""
    word ^= checksum
    return np.uint64(
        TABLES[7, word & np.uint64(0xFF)]
        ^ TABLES[6, (word >> np.uint64(8)) & np.uint64(0xFF)]
        ^ TABLES[5, (word >> np.uint64(16)) & np.uint64(0xFF)]
        ^ TABLES[4, (word >> np.uint64(24)) & np.uint64(0xFF)]
        ^ TABLES[3, (word >> np.uint64(32)) & np.uint64(0xFF)]
        ^ TABLES[2, (word >> np.uint64(40)) & np.uint64(0xFF)]
        ^ TABLES[1, (word >> np.uint64(48)) & np.uint64(0xFF)]
        ^ TABLES[0, word >> np.uint64(56)]
    )


@part
def _last_bytes(checksum: Any, address: Any, end: Any) -> Any:
    """The checksum after fewer than eight bytes more, byte by byte."""
    while address < end:
        low = (checksum ^ load_byte(address)) & np.uint64(0xFF)
        checksum = (checksum >> np.uint64(8)) ^ np.uint64(TABLES[0, low])
        address += 1
    return np.uint32(checksum ^ np.uint64(0xFFFFFFFF))


@kernel
def crc32c_tables(buffer: Any, start: Any, end: Any, out: Any) -> None:
    """uint32[n] checksums of the n ranges [start, end) of `buffer`, into `out`."""
    base = np.int64(buffer.ctypes.data)
    for i in range(start.shape[0]):
        checksum = np.uint64(0xFFFFFFFF)
        position = start[i]
        while position + 8 <= end[i]:
            checksum = _advance_tables(checksum, load_word(base + position))
            position += 8
        out[i] = _last_bytes(checksum, base + position, base + end[i])


@kernel
def _crc32c_instruction(buffer: Any, start: Any, end: Any, out: Any) -> None:
    """The same by the processor's instruction."""
    base = np.int64(buffer.ctypes.data)
    for i in range(start.shape[0]):
        checksum = np.uint64(0xFFFFFFFF)
        position = start[i]
        while position + 8 <= end[i]:
            checksum = _advance_instruction(checksum, load_word(base + position))
            position += 8
        out[i] = _last_bytes(checksum, base + position, base + end[i])


crc32c = _crc32c_instruction if _has_instruction() else crc32c_tables

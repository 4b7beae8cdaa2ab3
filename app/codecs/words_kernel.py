"""Loads of one and eight bytes from a byte array inside numba kernels, without index wrap-around.

The caller has checked the bounds; nothing is checked here. Numba's on-disk cache follows the file
of the calling kernel only: after a change here, remove the `__pycache__` of the kernels.
"""

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("Headrace's kernels need a little-endian machine")


def _loader(bits: int) -> Any:
    """An intrinsic `load(bytes, index) -> uint64` of a little-endian word of `bits` bits."""

    def load(typingctx: Any, buffer: Any, index: Any) -> Any:
        signature = types.uint64(buffer, types.intp)

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            address = builder.gep(array.data, [arguments[1]])
            word = ir.IntType(bits)
            value = builder.load(builder.bitcast(address, word.as_pointer()), align=1)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return signature, codegen

    return intrinsic(load)


load_byte = _loader(8)
load_word = _loader(64)

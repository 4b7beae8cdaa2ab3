# mypy: disable-error-code="untyped-decorator"
"""Memory in numba kernels by address, one or eight bytes at a time, and constant tables.

Kernels take arrays, and inside work on addresses (`array.ctypes.data`): an array handed from one
compiled function to the next costs two atomic reference counts, an address nothing. Nothing is
checked here; the kernels check every position against the end of what they read.
"""

import sys
from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("Headrace's kernels need a little-endian machine")

_WORD = ir.IntType(64)


def _loader(bits: int) -> Any:
    """An intrinsic `load(address) -> uint64` of `bits` bits."""

    def load(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            value = builder.load(pointer, align=1)
            return value if bits == 64 else builder.zext(value, _WORD)

        return types.uint64(types.intp), codegen

    return intrinsic(load)


def _storer(bits: int, stored: Any) -> Any:
    """An intrinsic `store(address, value)` of the low `bits` bits of a value of type `stored`."""

    def store(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = arguments[1]
            if isinstance(value.type, ir.IntType) and bits < 64:
                value = builder.trunc(value, ir.IntType(bits))
            builder.store(value, builder.inttoptr(arguments[0], value.type.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.intp, stored), codegen

    return intrinsic(store)


def table(values: Sequence[int]) -> Any:
    """An intrinsic `lookup(index) -> uint64` in a table of constants; the index is not checked."""
    array = ir.ArrayType(_WORD, len(values))

    def lookup(typingctx: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            name = builder.module.get_unique_name("table")
            constants = ir.GlobalVariable(builder.module, array, name)
            constants.global_constant = True
            constants.linkage = "private"
            constants.initializer = ir.Constant(array, list(values))
            return builder.load(builder.gep(constants, [ir.Constant(_WORD, 0), arguments[0]]))

        return types.uint64(types.intp), codegen

    return intrinsic(lookup)


power_of_ten = table([10**power for power in range(20)])
load_byte = _loader(8)
load_word = _loader(64)
store_byte = _storer(8, types.uint64)
store_word = _storer(64, types.uint64)
store_float = _storer(64, types.float64)


@intrinsic
def trailing_zeros(typingctx: Any, word: Any) -> Any:
    """Zero bits below the lowest one bit of a uint64 that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@intrinsic
def leading_zeros(typingctx: Any, word: Any) -> Any:
    """Zero bits above the highest one bit of a uint64 that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@intrinsic
def multiply_high(typingctx: Any, left: Any, right: Any) -> Any:
    """The upper 64 bits of the product of two uint64."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(value, wide) for value in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), _WORD)

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def float_of_bits(typingctx: Any, word: Any) -> Any:
    """The float64 of those bits."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.uint64), codegen

"""Arrays that touch a page which nobody may read or write: a step beyond their end is a crash."""

import ctypes
import mmap
from typing import Any

import numpy as np

_PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)


def _forbid(address: int) -> None:
    if _libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(_PAGE), 0):
        raise OSError(ctypes.get_errno(), "mprotect failed")


def guarded_empty(shape: Any, dtype: Any = np.float64, *, at_end: bool = True) -> Any:
    """An array whose last byte (else its first) lies at a page that must not be touched.

    It is filled with a byte that is no text, no number and a huge length.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    pages = -(-size // _PAGE)
    memory = mmap.mmap(-1, (pages + 2) * _PAGE)
    whole = np.frombuffer(memory, np.uint8)
    address = whole.ctypes.data
    start = (pages + 1) * _PAGE - size if at_end else _PAGE
    inner = whole[start : start + size]
    inner[:] = 0xA5
    _forbid(address)
    _forbid(address + (pages + 1) * _PAGE)
    return inner.view(dtype).reshape(shape)


def guarded(array: Any, *, at_end: bool = True) -> Any:
    """A read-only copy of an array between such pages."""
    copy = guarded_empty(array.shape, array.dtype, at_end=at_end)
    copy[...] = array
    copy.flags.writeable = False
    return copy


class GuardedNumpy:
    """Stands in for the module `np` of a module: what that makes lies between such pages."""

    def __init__(self, *, at_end: bool) -> None:
        self._at_end = at_end

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any = np.float64) -> Any:
        return guarded_empty(shape, dtype, at_end=self._at_end)

    def zeros(self, shape: Any, dtype: Any = np.float64) -> Any:
        return self.full(shape, 0, dtype)

    def ones(self, shape: Any, dtype: Any = np.float64) -> Any:
        return self.full(shape, 1, dtype)

    def full(self, shape: Any, value: Any, dtype: Any) -> Any:
        array = guarded_empty(shape, dtype, at_end=self._at_end)
        array[...] = value
        return array

    def frombuffer(self, buffer: Any, dtype: Any, count: int = -1, offset: int = 0) -> Any:
        array = np.frombuffer(buffer, dtype, count, offset)
        return guarded(array, at_end=self._at_end)

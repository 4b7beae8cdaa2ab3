"""Byte strings of a column by their addresses, so that no kernel needs a copy of them."""

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

_INLINE_BYTES_MAX = 12  # of Arrow's views: longer ones lie in another buffer
_VIEW_BYTES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """n byte strings: int64[n] addresses and lengths; -1 is a null. `owner` keeps the memory alive."""

    address: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    owner: Any

    def __len__(self) -> int:
        return len(self.length)

    @classmethod
    def within(
        cls,
        buffer: npt.NDArray[np.uint8],
        start: npt.NDArray[np.int64],
        length: npt.NDArray[np.int64],
    ) -> "Texts":
        """The strings buffer[start:start + length]."""
        return cls(buffer.ctypes.data + start, length, buffer)

    @classmethod
    def of(cls, series: pl.Series) -> "Texts":
        """The values of a String or Binary column."""
        array = series.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
        if not isinstance(array, pa.StringViewArray | pa.BinaryViewArray):
            raise TypeError(f"a column of texts is needed, not of {series.dtype}")
        _, views, *others = array.buffers()
        count = len(array)
        words = np.frombuffer(views, np.int32, 4 * count, _VIEW_BYTES * array.offset)
        words = words.reshape(-1, 4)
        length = words[:, 0].astype(np.int64)
        address = words.ctypes.data + 4 + _VIEW_BYTES * np.arange(count)
        far = length > _INLINE_BYTES_MAX
        if others and far.any():
            bases = np.array([other.address for other in others], np.int64)
            number, offset = words[:, 2], words[:, 3]
            number = np.zeros(count, np.int32) if len(others) == 1 else np.where(far, number, 0)
            address = np.where(far, bases[number] + offset, address)
        if array.null_count:
            length[series.is_null().to_numpy()] = -1
        return cls(address, length, array)

    @classmethod
    def nulls(cls, count: int) -> "Texts":
        """So many nulls."""
        return cls(np.zeros(count, np.int64), np.full(count, -1, np.int64), None)

    def to_list(self) -> list[bytes | None]:
        """The byte strings, copied."""
        return [
            ctypes.string_at(address, length) if length >= 0 else None
            for address, length in zip(self.address.tolist(), self.length.tolist(), strict=True)
        ]

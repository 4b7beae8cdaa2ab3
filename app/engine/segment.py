"""Segments: immutable Arrow frames of partial aggregates, the unit of state on disk and on the changelog."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

FINAL = 255
"""The level of the one run that a closed window keeps."""

_KEY = struct.Struct(">cQBQH")
_BIAS = 1 << 63
_MARK = b"s"


@dataclass(frozen=True, order=True)
class Run:
    """The segments that one checkpoint or merge wrote for one window, cut by bytes into `chunks`."""

    level: int
    sequence: int
    chunks: int

    def keys(self, pane: int) -> list[bytes]:
        """The keys of the run's segments; keys sort by window, then level, sequence and chunk."""
        return [
            _KEY.pack(_MARK, pane + _BIAS, self.level, self.sequence, chunk)
            for chunk in range(self.chunks)
        ]


def runs_of(keys: Iterator[bytes]) -> dict[int, tuple[Run, ...]]:
    """Find the windows and their runs from the keys of a table partition; other keys are passed over."""
    chunks: dict[tuple[int, int, int], int] = {}
    for key in keys:
        if key[:1] == _MARK:
            _, pane, level, sequence, chunk = _KEY.unpack(key)
            identity = (pane - _BIAS, level, sequence)
            chunks[identity] = max(chunks.get(identity, 0), chunk + 1)
    windows: dict[int, tuple[Run, ...]] = {}
    for (pane, level, sequence), count in sorted(chunks.items()):
        windows[pane] = (*windows.get(pane, ()), Run(level, sequence, count))
    return windows


def encode(frame: pl.DataFrame, bytes_max: int) -> list[bytes]:
    """Write a frame as Arrow IPC streams of at most `bytes_max` bytes each.

    ValueError: a single row does not fit.
    """
    if len(frame) > 1 and frame.estimated_size() > 4 * bytes_max:
        middle = len(frame) // 2
        return encode(frame[:middle], bytes_max) + encode(frame[middle:], bytes_max)
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="lz4", compat_level=pl.CompatLevel.oldest())
    data = out.getvalue()
    if len(data) <= bytes_max:
        return [data]
    if len(frame) < 2:
        raise ValueError(
            f"one row takes {len(data)} bytes as a segment; at most {bytes_max} are allowed"
        )
    middle = len(frame) // 2
    return encode(frame[:middle], bytes_max) + encode(frame[middle:], bytes_max)


def decode(data: bytes) -> pl.DataFrame:
    """Read back what `encode` wrote."""
    return pl.read_ipc_stream(io.BytesIO(data))

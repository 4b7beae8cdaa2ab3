"""Segments: immutable Arrow frames of partial aggregates, the unit of state on disk and on the changelog.

Where a run takes several segments, its rows are ordered by the hash of their keys, so that each segment has
a range of hashes to itself. What a reader must know to pass a segment by stands in its head.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs.hash_groups import sort_hashes
from app.codecs.key_hash import any_held, key_filter
from app.engine.state.key_sample import KeySample

_KEY = struct.Struct(">cQBQH")
_BIAS = 1 << 63
_MARK = b"s"
_HEAD = struct.Struct(">IIIQQ")
_INLINE_BYTES_MAX = 12
"""Of a text that lies in Arrow's view of it."""
_COMPRESSION_MIN = 1.5
"""What is expected at least of a frame that is tried as one segment."""
_SAMPLE_ROWS = 1024
"""Encoded first where several are needed, to know how much rows take."""
_FILLED = 0.95
"""Of a segment, as is expected then; one that becomes too large all the same is made again, in halves."""


@dataclass(frozen=True, order=True)
class Head:
    """What is known of a segment without reading it.

    rows, size: of its frame; the size in bytes, compressed. low, high: the first and last hash of its keys.
    """

    rows: int
    size: int
    low: int
    high: int
    filter: bytes

    @classmethod
    def of(cls, value: bytes) -> Head:
        """The head of a segment; its own bytes are enough."""
        filter_size, rows, size, low, high = _HEAD.unpack_from(value)
        return cls(rows, size, low, high, value[_HEAD.size : _HEAD.size + filter_size])

    def may_hold(self, hashes: npt.NDArray[np.uint64]) -> bool:
        """Whether a key of one of these hashes may be in the segment; False: surely none is."""
        return any_held(hashes, self.low, self.high, self.filter)


@dataclass(frozen=True, order=True)
class Run:
    """The segments that one checkpoint or merge wrote for one window.

    sample: of its keys; None: this process has not written the run itself.
    """

    level: int
    sequence: int
    heads: tuple[Head, ...]
    sample: KeySample | None = field(default=None, compare=False)

    @property
    def size(self) -> int:
        """Bytes of all its frames, compressed."""
        return sum(head.size for head in self.heads)

    @property
    def rows(self) -> int:
        """Rows of all its frames."""
        return sum(head.rows for head in self.heads)

    def keys(self, pane: int) -> list[bytes]:
        """The keys of its segments; keys sort by window, then level, sequence and chunk."""
        return [self.key(pane, chunk) for chunk in range(len(self.heads))]

    def key(self, pane: int, chunk: int) -> bytes:
        """The key of one of its segments."""
        return _KEY.pack(_MARK, pane + _BIAS, self.level, self.sequence, chunk)

    def grown(self, heads: Sequence[Head], sample: KeySample) -> Run:
        """The run with further segments, of greater hashes, behind its own. sample: of their keys."""
        if not self.heads:
            return Run(self.level, self.sequence, tuple(heads), sample)
        whole = self.sample and self.sample.followed_by(sample)
        return Run(self.level, self.sequence, (*self.heads, *heads), whole)


def head_bytes(key: bytes, value: bytes) -> bytes:
    """The part of a value that a store must give without reading the rest; empty for what is no segment."""
    return value[: _HEAD.size + _HEAD.unpack_from(value)[0]] if key[:1] == _MARK else b""


def pane_of(key: bytes) -> int:
    """The window of the segment that has this key."""
    _, pane, *_ = _KEY.unpack(key)
    return int(pane) - _BIAS


def runs_of(heads: Mapping[bytes, bytes]) -> dict[int, tuple[Run, ...]]:
    """Find the windows and their runs from the heads of a table partition; other keys are passed over."""
    found: dict[tuple[int, int, int], list[tuple[int, Head]]] = {}
    for key, head in heads.items():
        if key[:1] == _MARK:
            _, pane, level, sequence, chunk = _KEY.unpack(key)
            found.setdefault((pane - _BIAS, level, sequence), []).append((chunk, Head.of(head)))
    windows: dict[int, tuple[Run, ...]] = {}
    for (pane, level, sequence), chunks in sorted(found.items()):
        run = Run(level, sequence, tuple(head for _, head in sorted(chunks)))
        windows[pane] = (*windows.get(pane, ()), run)
    return windows


def encode(frame: pl.DataFrame, hashes: npt.NDArray[np.uint64], bytes_max: int) -> list[bytes]:
    """Write a frame as segments of at most `bytes_max` bytes, or of one row that is larger; hashes: of its keys."""
    frame = frame.rechunk()
    texts = _text_format(frame)
    if frame.estimated_size() <= _COMPRESSION_MIN * bytes_max:
        data = _encoded(frame, hashes, texts)
        if len(data) <= bytes_max:
            return [data]
    if not (hashes[1:] >= hashes[:-1]).all():
        order, hashes = sort_hashes(hashes)
        frame = frame[order]
    sample = frame[:_SAMPLE_ROWS]
    row_bytes = len(_encoded(sample, hashes[:_SAMPLE_ROWS], texts)) / max(len(sample), 1)
    parts = math.ceil(row_bytes * len(frame) / (_FILLED * bytes_max))
    return list(_cut(frame, hashes, texts, bytes_max, min(max(parts, 2), len(frame))))


def _cut(
    frame: pl.DataFrame,
    hashes: npt.NDArray[np.uint64],
    texts: pl.CompatLevel,
    bytes_max: int,
    parts: int,
) -> Iterator[bytes]:
    """Segments of a frame that is in the order of its hashes: so many, or more if some become too large."""
    bounds = [len(frame) * part // parts for part in range(parts + 1)]
    for start, end in pairwise(bounds):
        part, held = frame[start:end], hashes[start:end]
        data = _encoded(part, held, texts)
        if len(data) <= bytes_max or len(part) < 2:
            yield data
        else:
            yield from _cut(part, held, texts, bytes_max, 2)


def _encoded(frame: pl.DataFrame, hashes: npt.NDArray[np.uint64], texts: pl.CompatLevel) -> bytes:
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="lz4", compat_level=texts)
    data, held = out.getbuffer(), key_filter(hashes)
    low, high = (int(hashes.min()), int(hashes.max())) if len(hashes) else (0, 0)
    return b"".join([_HEAD.pack(len(held), len(frame), len(data), low, high), held, data])


def _text_format(frame: pl.DataFrame) -> pl.CompatLevel:
    """As Polars has texts in memory if they are all short; else Arrow's plain ones, which are smaller then.

    Within lists Polars would write the texts of all other rows that lie in the same memory, too.
    """
    nested = any(kind.is_nested() for kind in frame.dtypes)
    longest = frame.select(pl.col(pl.String).str.len_bytes().max())
    if nested or any((size or 0) > _INLINE_BYTES_MAX for column in longest for size in column):
        return pl.CompatLevel.oldest()
    return pl.CompatLevel.newest()


def decode(value: bytes) -> pl.DataFrame:
    """Read back the frame of a segment."""
    return pl.read_ipc_stream(
        io.BytesIO(memoryview(value)[_HEAD.size + _HEAD.unpack_from(value)[0] :])
    )

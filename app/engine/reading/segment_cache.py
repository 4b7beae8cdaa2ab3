"""The segments that were read last, as frames, with an index of their keys."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from app.codecs.key_hash import found_hashes, key_hashes

_INDEX_BYTES_PER_ROW = 16


class CachedSegment:
    """A segment's frame, and where in it each key is. keys: the key columns.

    The index is made when it is first asked for. May be used by several threads.
    """

    def __init__(self, frame: pl.DataFrame, keys: Sequence[str]) -> None:
        self.frame = frame
        self._keys = keys
        self._index: tuple[npt.NDArray[np.uint64], npt.NDArray[np.intp]] | None = None

    @property
    def size(self) -> int:
        """Bytes in memory, with the index."""
        return int(self.frame.estimated_size()) + _INDEX_BYTES_PER_ROW * len(self.frame)

    def positions(
        self, hashes: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
        """Which of these hashes (each once, sorted) keys have, and in which rows."""
        if self._index is None:
            held = key_hashes(self.frame, self._keys)
            order = np.argsort(held)
            self._index = held[order], order
        held, order = self._index
        which, places = found_hashes(hashes, held)
        return which, order[places]


class SegmentCache:
    """Segments up to so many bytes; one that was not used for the longest time goes first.

    A segment never changes under its key.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._segments: OrderedDict[tuple[str, int, bytes], CachedSegment] = OrderedDict()
        self._lock = threading.Lock()  # pages and code read in threads of their own

    def get(self, key: tuple[str, int, bytes]) -> CachedSegment | None:
        """A segment by its table, partition and key."""
        with self._lock:
            found = self._segments.get(key)
            if found is not None:
                self._segments.move_to_end(key)
            return found

    def put(self, key: tuple[str, int, bytes], segment: CachedSegment) -> None:
        """Keep a segment; the newest is kept however large it is."""
        with self._lock:
            before = self._segments.pop(key, None)
            self._bytes += segment.size - (before.size if before else 0)
            self._segments[key] = segment
            while self._bytes > self._bytes_max and len(self._segments) > 1:
                self._bytes -= self._segments.popitem(last=False)[1].size

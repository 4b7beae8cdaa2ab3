"""How large parts of the state may be, and how much of it one checkpoint may read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True)
class Sizes:
    """Limits of the state, in bytes as they are on disk.

    segment_bytes_max: of one segment. fan_in: so many runs of one size class are merged. merge_bytes_max:
    what one checkpoint may read to merge and to close windows, unless it adds so much that more is needed to keep up;
    the rest is left to the next one. slice_bytes: of a build, what is in memory at a time, beside a segment of each
    run that reaches into the next slice.
    """

    segment_bytes_max: int = 512 * 1024
    fan_in: int = 16
    merge_bytes_max: int = 32 << 20
    slice_bytes: int = 4 << 20

    @property
    def merges(self) -> float:
        """How often a byte is read to be merged, about, until a window has a gigabyte.

        Once in each size class above `slice_bytes`, and twice with rows of which some are older than others.
        """
        return 8 / math.log2(self.fan_in) + 2


class Budget:
    """How many bytes of segments a checkpoint may still read to merge and to close windows.

    floor: so many at least; more if what the checkpoint adds will need more, so that merges keep up with what comes.
    Several threads may share it.
    """

    def __init__(self, floor: int) -> None:
        self._floor = floor
        self._needed = self._taken = 0
        self._lock = Lock()

    @property
    def left(self) -> int:
        """Not above 0: nothing."""
        return max(self._floor, self._needed) - self._taken

    def need(self, size: int) -> None:
        """So many bytes will have to be read, some time."""
        with self._lock:
            self._needed += size

    def take(self, size: int) -> bool:
        """Take so much; False: nothing is left. What is taken last may be more than what was left."""
        with self._lock:
            if self.left <= 0:
                return False
            self._taken += size
            return True

"""Memory that is used again: what is fresh costs the system a page fault for every 4 kB of it, and its clearing."""

from __future__ import annotations

import weakref
from collections import deque
from contextlib import suppress
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]


_TIMES_MAX = 4
"""What is so many times as large as what is wanted is not lent for it."""
_all: weakref.WeakSet[Buffers] = weakref.WeakSet()


def trim_all() -> None:
    """Let go all memory that is kept and has not been lent since the last time."""
    for buffers in list(_all):
        buffers.trim()


class Buffers:
    """Lends memory, and takes it back once nothing refers to what was lent, or to a view of it.

    spare_bytes_max: of memory that is kept meanwhile. For any thread.
    """

    def __init__(self, spare_bytes_max: int) -> None:
        self._spare_bytes_max = spare_bytes_max
        self._spare: deque[tuple[int, Bytes]] = deque()
        self._turn = 0
        _all.add(self)

    @property
    def spare_bytes(self) -> int:
        """Of memory that is kept, and not lent."""
        return sum(len(memory) for _, memory in list(self._spare))

    def trim(self) -> None:
        """Let go what is kept and has not been lent since the last trim."""
        turn, self._turn = self._turn, self._turn + 1
        with suppress(IndexError):  # others may be taking it
            for _ in range(len(self._spare)):
                returned_in, memory = self._spare.popleft()
                if returned_in >= turn:
                    self._spare.append((returned_in, memory))

    def lend(self, size: int) -> Bytes:
        """uint8[size] of whatever was there before, or of fresh memory."""
        memory = self._found(size)
        # numpy lets views of views refer to their owner alone: behind a memoryview the owner is this array
        lent = np.frombuffer(memory.data, np.uint8)
        weakref.finalize(lent, self._take_back, memory).atexit = False
        return lent[:size]

    def _found(self, size: int) -> Bytes:
        too_large = []
        try:
            while True:
                returned_in, memory = self._spare.pop()
                if len(memory) > _TIMES_MAX * size:
                    too_large.append((returned_in, memory))
                elif len(memory) >= size:
                    return memory
                # what is too small is let go: a larger one is to be kept instead
        except IndexError:
            return np.empty(size, np.uint8)
        finally:
            self._spare.extend(too_large)

    def _take_back(self, memory: Bytes) -> None:
        if self.spare_bytes + len(memory) <= self._spare_bytes_max:
            self._spare.append((self._turn, memory))

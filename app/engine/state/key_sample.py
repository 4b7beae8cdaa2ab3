"""How many different keys several runs have, told from a few of their hashes, without reading them.

Hashes are spread evenly, so how far one must go to meet so many different ones tells how many there are (k minimum
values: Bar-Yossef and others, Counting distinct elements in a data stream, 2002).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.codecs.key_hash import HASH_MAX

_HASHES = 512
"""So many tell a number to about 4 percent, and take 4 kB."""


@dataclass(frozen=True, eq=False)
class KeySample:
    """The hashes of a set of keys up to `last`, that included: uint64, each once, ascending."""

    hashes: npt.NDArray[np.uint64]
    last: int

    @classmethod
    def of(cls, hashes: npt.NDArray[np.uint64]) -> KeySample:
        """A sample of these (uint64[n], in any order, some may be equal)."""
        if len(hashes) > _HASHES:
            first = np.unique(np.partition(hashes, _HASHES)[: _HASHES + 1])
            if len(first) > _HASHES // 2:
                return cls(first, int(first[-1]))
        return cls._cut(np.unique(hashes), HASH_MAX)  # few, or one of them very often

    def followed_by(self, other: KeySample) -> KeySample:
        """The sample of both; all hashes of the other one are greater."""
        if self.last < HASH_MAX:
            return self
        return self._cut(np.concatenate([self.hashes, other.hashes]), other.last)

    @classmethod
    def _cut(cls, hashes: npt.NDArray[np.uint64], last: int) -> KeySample:
        if len(hashes) > _HASHES:
            return cls(hashes[: _HASHES + 1].copy(), int(hashes[_HASHES]))
        return cls(hashes, last)


def different_keys(samples: Sequence[KeySample]) -> int:
    """About how many keys there are in all sets together, each counted once; exactly, if they are few."""
    last = min(sample.last for sample in samples)
    end = np.uint64(last)
    found = [sample.hashes[: np.searchsorted(sample.hashes, end, "right")] for sample in samples]
    return len(np.unique(np.concatenate(found))) * (HASH_MAX + 1) // (last + 1)

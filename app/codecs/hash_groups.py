"""Which of many hashes are equal, found by sorting: no table of them would fit the processor's caches."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.codecs.hash_groups_kernel import part_groups, sort_hashes
from app.codecs.kernel import read_only


@dataclass(frozen=True)
class HashGroups:
    """The places (uint32) of hashes in their order: of those that come once, and of the others.

    groups: the number of each of the others' group, uint32, from 1 on, ascending.
    """

    alone: npt.NDArray[np.uint32]
    several: npt.NDArray[np.uint32]
    groups: npt.NDArray[np.uint32]


def hash_groups(hashes: npt.NDArray[np.uint64]) -> HashGroups:
    """Find the equal ones of at most 2**32 - 1 hashes."""
    order, ordered = _sorted(read_only(hashes))
    alone, several, groups = (np.empty(len(hashes), np.uint32) for _ in range(3))
    singles, others = part_groups(read_only(ordered), read_only(order), alone, several, groups)
    return HashGroups(alone[:singles], several[:others], groups[:others])


def _sorted(
    hashes: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
    ordered, order = np.empty(len(hashes), np.uint64), np.empty(len(hashes), np.uint32)
    if sort_hashes(hashes, ordered, order):
        return order, ordered
    order = np.argsort(hashes, kind="stable").astype(np.uint32)
    return order, hashes[order]

"""Which of many hashes are equal, found by sorting: no table of them would fit the processor's caches."""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from app.codecs.hash_groups_kernel import (
    GREATEST,
    LEAST,
    SUM,
    part_groups,
    reduce_groups,
    sort_even_hashes,
)
from app.codecs.kernel import read_only

Number = TypeVar("Number", np.int64, np.float64)
Reduce = Literal["sum", "min", "max"]
_REDUCES: dict[Reduce, int] = {"sum": SUM, "min": LEAST, "max": GREATEST}


@dataclass(frozen=True)
class HashGroups:
    """n hashes in ascending order, and their g groups of equal ones.

    order: uint32[n], the place where each has come; equal ones keep their order. starts: uint32[g], where each group
    begins in `order`. others: uint32[n - g], all that are not the first of a group. hashes: uint64[g], of the groups.
    """

    order: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.uint32]
    others: npt.NDArray[np.uint32]
    hashes: npt.NDArray[np.uint64]

    def reduce(self, values: npt.NDArray[Number], how: Reduce) -> npt.NDArray[Number]:
        """One number for each group, of those that came with its hashes: int64 or float64, n to g.

        Whole numbers wrap around. A NaN is neither the least nor the greatest where there is another number.
        """
        out = np.empty(len(self.starts), values.dtype)
        reduce_groups(
            read_only(values), read_only(self.order), read_only(self.starts), _REDUCES[how], out
        )
        return out


def hash_groups(hashes: npt.NDArray[np.uint64]) -> HashGroups:
    """Find the equal ones of at most 2**32 - 1 hashes."""
    order, ordered = sort_hashes(hashes)
    starts, others = np.empty(len(hashes), np.uint32), np.empty(len(hashes), np.uint32)
    groups = part_groups(read_only(ordered), starts, others)
    return HashGroups(
        order, starts[:groups], others[: len(hashes) - groups], ordered[starts[:groups]]
    )


def sort_hashes(
    hashes: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
    """The places (uint32[n]) of at most 2**32 - 1 hashes in their order, and the hashes in that order."""
    ordered, order = np.empty(len(hashes), np.uint64), np.empty(len(hashes), np.uint32)
    if sort_even_hashes(read_only(hashes), ordered, order):
        return order, ordered
    order = np.argsort(hashes, kind="stable").astype(np.uint32)
    return order, hashes[order]

"""Sorts 64-bit hashes, and finds those that come several times."""

from typing import Any, Final

import numpy as np

from app.codecs.kernel import kernel, part

_BITS: Final = 11
"""Of one pass of the radix sort: so many places to write to are still near in the caches."""
_MOVES_MAX: Final = 16
"""Of one hash, on the average, behind both passes. If there are more, the hashes are not spread evenly."""


@part
def _scatter(hashes: Any, places: Any, shift: Any, to_hashes: Any, to_places: Any) -> None:
    """One pass: a stable sort by the _BITS bits from `shift` on."""
    mask = np.uint64((1 << _BITS) - 1)
    ends = np.zeros((1 << _BITS) + 1, np.int64)
    for i in range(hashes.shape[0]):
        ends[np.int64((hashes[i] >> shift) & mask) + 1] += 1
    for n in range(1, ends.shape[0]):
        ends[n] += ends[n - 1]
    for i in range(hashes.shape[0]):
        digit = np.int64((hashes[i] >> shift) & mask)
        to_hashes[ends[digit]] = hashes[i]
        to_places[ends[digit]] = places[i]
        ends[digit] += 1


@kernel
def sort_hashes(hashes: Any, ordered: Any, order: Any) -> Any:
    """Sort hashes (uint64[n]) that are spread evenly; False: they are not, and the output does not hold.

    Writes them to `ordered` (uint64[n]), and their places to `order` (uint32[n]). Equal ones keep their order.
    """
    count = hashes.shape[0]
    half, places = np.empty(count, np.uint64), np.empty(count, np.uint32)
    for i in range(count):
        order[i] = i
    _scatter(hashes, order, np.uint64(64 - 2 * _BITS), half, places)
    _scatter(half, places, np.uint64(64 - _BITS), ordered, order)
    moves = 0
    for i in range(1, count):  # they are sorted by their first bits, and nearly by all
        one = ordered[i]
        place = order[i]
        free = i
        while free > 0 and ordered[free - 1] > one:
            ordered[free] = ordered[free - 1]
            order[free] = order[free - 1]
            free -= 1
        ordered[free] = one
        order[free] = place
        moves += i - free
        if moves > _MOVES_MAX * count:
            return False
    return True


@kernel
def part_groups(ordered: Any, order: Any, alone: Any, several: Any, groups: Any) -> Any:
    """Part the places of sorted hashes: those that come once, and the others, with the number of each one's group.

    All are uint32[n] but `ordered` (uint64[n]). Gives how many were written to `alone`, and to the other two.
    """
    count = ordered.shape[0]
    singles: Any = 0
    others: Any = 0
    number: Any = 0
    again: Any = 0
    for i in range(count):  # without a branch: which way it goes is chance
        more = np.int64(i + 1 < count and ordered[i] == ordered[i + 1])
        grouped = again | more
        number += grouped & (1 - again)
        alone[singles] = order[i]
        singles += 1 - grouped
        several[others] = order[i]
        groups[others] = number
        others += grouped
        again = more
    return singles, others

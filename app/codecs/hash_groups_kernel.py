"""Sorts 64-bit hashes, finds those that come several times, and reduces what came with them."""

from typing import Any, Final

import numpy as np

from app.codecs.kernel import kernel, part

SUM: Final = 0
LEAST: Final = 1
GREATEST: Final = 2
"""How `reduce_groups` makes one number of several."""
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
def sort_even_hashes(hashes: Any, ordered: Any, order: Any) -> Any:
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
def part_groups(ordered: Any, starts: Any, others: Any) -> Any:
    """Part the places in sorted hashes (uint64[n]): where a hash comes first, and where it comes again.

    Both are uint32[n]. Gives how many were written to `starts`; the others are the rest.
    """
    groups: Any = 0
    for i in range(ordered.shape[0]):  # without a branch: which way it goes is chance
        first = np.int64(i == 0 or ordered[i] != ordered[i - 1])
        starts[groups] = i
        others[i - groups] = i
        groups += first
    return groups


@kernel
def reduce_groups(values: Any, order: Any, starts: Any, how: Any, out: Any) -> None:
    """Reduce the values (any number[n]) of each group, as `part_groups` has found them, to one in `out`."""
    count = starts.shape[0]
    for group in range(count):
        start = np.int64(starts[group])
        end = np.int64(starts[group + 1]) if group + 1 < count else order.shape[0]
        value = values[order[start]]
        for i in range(start + 1, end):
            other = values[order[i]]
            if how == SUM:
                value += other
            else:
                better = other < value if how == LEAST else other > value
                if better or value != value:  # all is better than a NaN
                    value = other
        out[group] = value

"""Memory is lent again only when nobody can see it any more."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.codecs.buffers import Buffers, Bytes, trim_all
from app.codecs.kernel import read_only

_SPARE_BYTES_MAX = 100


def _address(buffer: Bytes) -> int:
    return int(buffer.ctypes.data)


def test_memory_is_lent_again() -> None:
    """And a smaller piece of it, too."""
    buffers = Buffers(_SPARE_BYTES_MAX)
    lent = buffers.lend(80)
    address = _address(lent)
    del lent
    again = buffers.lend(50)
    assert (len(again), _address(again)) == (50, address)


def test_a_view_keeps_the_memory() -> None:
    """Of whatever kind: numpy's own short cut from a view of a view to the owner does not lead past us."""
    buffers = Buffers(2 * _SPARE_BYTES_MAX)
    lent = buffers.lend(80)
    address, view = _address(lent), read_only(lent[20:60])[5:10]
    del lent
    assert _address(buffers.lend(80)) != address
    del view
    assert _address(buffers.lend(80)) == address


def test_no_more_is_kept_than_allowed() -> None:
    """What comes back beyond that is let go; so is what is too small for what is wanted."""
    buffers = Buffers(_SPARE_BYTES_MAX)
    lent = [buffers.lend(40) for _ in range(4)]
    lent.clear()
    assert buffers.spare_bytes == 80
    large = buffers.lend(90)
    assert buffers.spare_bytes == 0
    del large
    assert buffers.spare_bytes == 90


def test_what_was_not_lent_for_a_while_is_let_go() -> None:
    """What is lent now and then stays, and so does what is lent at the time."""
    buffers = Buffers(_SPARE_BYTES_MAX)
    lent = [buffers.lend(40), buffers.lend(40)]
    lent.clear()
    buffers.trim()
    assert buffers.spare_bytes == 80, "both have been lent since the beginning"
    address = _address(buffers.lend(40))  # and comes back at once
    held = buffers.lend(40)
    assert _address(held) == address
    buffers.trim()
    assert buffers.spare_bytes == 0, "one is lent, the other was not"
    del held
    buffers.trim()
    assert _address(buffers.lend(40)) == address
    buffers.trim()
    assert buffers.spare_bytes == 40
    buffers.trim()
    assert buffers.spare_bytes == 0


def test_all_are_trimmed_together() -> None:
    buffers = [Buffers(_SPARE_BYTES_MAX), Buffers(_SPARE_BYTES_MAX)]
    for each in buffers:
        each.lend(40)
    trim_all()
    assert [each.spare_bytes for each in buffers] == [40, 40]
    trim_all()
    assert [each.spare_bytes for each in buffers] == [0, 0]


def test_what_is_much_too_large_is_kept_for_others() -> None:
    buffers = Buffers(_SPARE_BYTES_MAX)
    large = buffers.lend(80)
    address = _address(large)
    del large
    small = buffers.lend(19)
    assert _address(small) != address
    assert _address(buffers.lend(80)) == address


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5), st.booleans()), max_size=60))
def test_nobody_writes_over_what_is_seen(steps: list[tuple[int, int, bool]]) -> None:
    """Whatever is lent, looked at through views, given back and trimmed in whatever order."""
    buffers = Buffers(_SPARE_BYTES_MAX)
    kept: dict[int, tuple[int, Bytes]] = {}
    for number, (size, slot, half) in enumerate(steps):
        kept.pop(slot, None)
        if half:
            buffers.trim()
        lent = buffers.lend(size)
        lent[:] = number
        kept[slot] = (number, lent[size // 2 :] if half else lent)
        del lent
        for written, seen in kept.values():
            assert np.all(seen == written)

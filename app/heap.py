"""glibc's heaps: fetches and events of some hundred kB pass from thread to thread, and leave holes in them."""

from __future__ import annotations

import asyncio
import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8
"""The parameter of glibc's `mallopt` that limits how many heaps there are."""
_HEAPS_MAX = 2
_TRIM_INTERVAL_S = 3.0


def share_heaps() -> None:
    """By default glibc has up to eight heaps per core, and memory that is freed in one is of no use to the others.

    That is 25 MB a minute.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS_MAX)


async def trim_for_ever() -> None:
    """Give back to the system what is free within the heaps; glibc by itself does so only at their ends.

    It takes some milliseconds, in which other threads may wait for a heap, and keeps a hundred MB at times.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(_TRIM_INTERVAL_S)
        await asyncio.to_thread(trim, 0)

"""glibc's heaps: fetches and events of some hundred kB pass from thread to thread, and leave holes in them."""

from __future__ import annotations

import asyncio
import ctypes
import time
from contextlib import suppress

from app.codecs.buffers import trim_all

_M_ARENA_MAX = -8
"""The parameter of glibc's `mallopt` that limits how many heaps there are."""
_HEAPS_MAX = 2
_LOOK_INTERVAL_S = 3.0
_BUSY = 0.7
"""Of one core: a worker with so much to do needs again at once what it would give back."""
_LOOKS_PASSED_MAX = 3


def share_heaps() -> None:
    """By default glibc has up to eight heaps per core, and memory that is freed in one is of no use to the others.

    That is 25 MB a minute.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS_MAX)


async def trim_for_ever() -> None:
    """Give back to the system the spare memory that was not needed lately, and what is free within the heaps.

    Together it is a hundred MB at times; glibc by itself gives back only what is free at the heaps' ends. It costs a
    busy worker some hundredths of its time: it waits for a quieter moment, but not for long.
    """
    passed = 0
    while True:
        before = time.process_time()
        await asyncio.sleep(_LOOK_INTERVAL_S)
        busy = (time.process_time() - before) / _LOOK_INTERVAL_S
        if busy > _BUSY and passed < _LOOKS_PASSED_MAX:
            passed += 1
        else:
            passed = 0
            await asyncio.to_thread(_trim)


def _trim() -> None:
    trim_all()
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)

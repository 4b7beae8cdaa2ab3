"""A clock that nobody sets: how long the machine has been up, and since which of its starts."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import NamedTuple

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Uptime(NamedTuple):
    """boot: 16 bytes, others after each start of the machine. seconds: those included in which it was suspended."""

    boot: bytes
    seconds: int


def uptime() -> Uptime:
    """Now. Where the machine does not name its starts, each process is one."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return Uptime(_boot, int(time.clock_gettime(clock)))


def _this_boot() -> bytes:
    try:
        return uuid.UUID(_BOOT_ID.read_text().strip()).bytes
    except (OSError, ValueError):
        return uuid.uuid4().bytes


_boot = _this_boot()

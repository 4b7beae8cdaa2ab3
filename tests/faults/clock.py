"""The wall clock of a worker, set wrong.

Shifted is what Python's `time` module tells; C libraries and the broker keep the right time.
"""

from __future__ import annotations

import struct
from pathlib import Path

from tests.kafka.workers import ROOT, Worker

JUMP_S = 3700.0
"""Kafka refuses records whose time is an hour ahead of its own, unless it is told otherwise."""


class Clock:
    """One worker's; made before the worker is started."""

    def __init__(self, item: Worker, path: Path) -> None:
        self._path = path
        path.write_bytes(struct.pack("d", 0))
        item.environment |= {
            "TEST_CLOCK": str(path),
            "PYTHONPATH": str(ROOT / "tests/faults/shifted_clock"),
        }

    def jump(self, shift_s: float) -> None:
        """From now on it is wrong by so much."""
        with self._path.open("r+b") as file:
            file.write(struct.pack("d", shift_s))

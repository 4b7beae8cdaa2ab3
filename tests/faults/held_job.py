"""The test application, to which its changelogs give nothing for as long as the file TEST_HOLD is there."""

from __future__ import annotations

import os
import time
from pathlib import Path

from app.kafka.changelogs.reader import ChangelogReader, Chunk
from tests.kafka.job import app

__all__ = ["app"]

_hold = Path(os.environ["TEST_HOLD"])
_LOOK_S = 0.02

_read = ChangelogReader.read


def _held(self: ChangelogReader, wait_s: float) -> list[Chunk]:
    until = time.monotonic() + wait_s
    while _hold.exists():
        if time.monotonic() > until:
            return []
        time.sleep(_LOOK_S)
    return _read(self, wait_s)


ChangelogReader.read = _held  # type: ignore[method-assign]

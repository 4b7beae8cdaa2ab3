"""The seeds of random tests."""

from __future__ import annotations

import os
import random

_drawn: list[int] = []


def new_seed() -> int:
    """A seed for one test, told at the end of the run, and printed for when it fails; TEST_SEED gives one again."""
    seed = int(os.environ.get("TEST_SEED") or random.randrange(1 << 30))
    print(f"seed {seed}")  # noqa: T201
    _drawn.append(seed)
    return seed


def taken_seeds() -> list[int]:
    """Those drawn since this was last asked."""
    taken, _drawn[:] = _drawn[:], []
    return taken

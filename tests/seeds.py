"""The seeds of random tests."""

from __future__ import annotations

import os
import random


def new_seed() -> int:
    """A seed for one test, printed so that pytest shows it when the test fails; TEST_SEED gives one again."""
    seed = int(os.environ.get("TEST_SEED") or random.randrange(1 << 30))
    print(f"seed {seed}")  # noqa: T201
    return seed

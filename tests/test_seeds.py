"""What a test has drawn can be drawn again: its seed is told at the end, also when it has passed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.seeds import new_seed

ROOT = Path(__file__).parents[1]
DRAWING = "tests/test_seeds.py::test_one_that_draws"
SEED = 20_260


def test_one_that_draws() -> None:
    seed = new_seed()
    assert os.environ.get("TEST_SEED", str(seed)) == str(seed)


def test_the_seed_is_told_at_the_end() -> None:
    """By the process that shares the tests out, to which the test itself has printed nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider", DRAWING],
        cwd=ROOT,
        env={**os.environ, "TEST_SEED": str(SEED)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines().count(f"{DRAWING}: {SEED}") == 1

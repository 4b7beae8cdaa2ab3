"""`./run test`: every check, in the order in which they are quickest to say what is wrong."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

# What each kind of check runs, below the folder of this Python's programs.
CHECKS = {
    "format": ("ruff", "format", "--check", "."),
    "lint": ("ruff", "check", "."),
    "types": ("mypy",),
    "imports": ("lint-imports",),
    # two at a time: the tests on a broker mostly wait, the others mostly compute
    "tests": ("pytest", "-n", "2", "--maxschedchunk", "1", "-p", "no:benchmark"),
}


def main(arguments: list[str]) -> int:
    """Run the checks up to the first that fails; return 0 when all passed, else 1."""
    parser = argparse.ArgumentParser(
        prog="./run test",
        description="Check the format, lint, types, import direction and tests, in this order, and "
        "stop at the first that fails. Further arguments go to pytest: "
        "./run test tests/codecs -k lz4",
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help="show this text")
    parser.add_argument(
        "--faults",
        action="store_true",
        help="let the tests of faults (workers and brokers that are killed, stopped or "
        "cut off) run in their full form, which takes much longer",
    )
    options, pytest_arguments = parser.parse_known_args(arguments)
    if options.faults:
        pytest_arguments.append("--faults")
    for position, (name, command) in enumerate(CHECKS.items()):
        if not _passes(name, [*command, *(pytest_arguments if name == "tests" else [])]):
            rest = list(CHECKS)[position + 1 :]
            if rest:
                _say(f"not run: {', '.join(rest)}")
            return 1
    return 0


def _passes(name: str, command: list[str]) -> bool:
    """Run one check and say its line; only the tests speak while they run."""
    started = time.monotonic()
    path = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [path, *command[1:]],
        stdout=None if name == "tests" else subprocess.PIPE,
        stderr=None if name == "tests" else subprocess.STDOUT,
        env={**os.environ, "NO_COLOR": "1"} if name != "tests" else None,
        check=False,
    )
    passed = done.returncode == 0
    if not passed and done.stdout:
        sys.stdout.write(done.stdout.decode(errors="replace"))
    _say(f"{name:<8} {'ok' if passed else 'FAILED':<6} {time.monotonic() - started:6.1f} s")
    return passed


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

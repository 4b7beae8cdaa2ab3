"""`./run worker`: one worker in the foreground, as `faust -A app worker` starts it."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> int:
    """Become the worker; the arguments are those of `faust worker`."""
    command = [sys.executable, "-m", "faust", "-A", "app", "worker", *arguments]
    os.execv(command[0], command)

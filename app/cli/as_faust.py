"""`./run worker`, `rebuild` and `replay`: Faust's commands of the same name for this application."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> int:
    """Become `faust -A app` with the arguments, of which the first is the command."""
    command = [sys.executable, "-m", "faust", "-A", "app", *arguments]
    os.execv(command[0], command)

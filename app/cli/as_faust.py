"""`./run worker`, `rebuild` and `replay`: Faust's commands of the same name for this application."""

from __future__ import annotations

import os
import sys

WORKER = """One worker of the application in app/: it consumes, keeps the tables and shows them until Ctrl-C.

Start more of them, here or on other hosts, and they share the partitions. What it does is set by
HEADRACE_... in the environment (docs/settings.md), for example:

  HEADRACE_BROKER=kafka-1:9092,kafka-2:9092 ./run worker    without: the embedded broker, on this machine
  HEADRACE_WORKER_ID=a ./run worker                         a name of its own, by which it comes back to
                                                            its state and its partitions

It ends with 0 when it is told to. With any other exit code it says by one line why, and is to be
started again; with 78 only after what that line names has been mended (docs/standbys.md).

The options below are Faust's.
"""


def main(arguments: list[str]) -> int:
    """Become `faust -A app` with the arguments, of which the first is the command."""
    if arguments[0] == "worker" and "--help" in arguments:
        print(WORKER, flush=True)  # noqa: T201
    command = [sys.executable, "-m", "faust", "-A", "app", *arguments]
    os.execv(command[0], command)

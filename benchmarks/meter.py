"""What a measured program says of itself: JSON lines on its standard output."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Any, NoReturn

_STDOUT = 1  # not sys.stdout, which Faust turns into a log
_REPORTS = 40


def report(**facts: Any) -> None:
    """Write one JSON line to the program that started this one."""
    line = json.dumps(facts).encode()
    os.write(_STDOUT, b"\n" + line + b"\n")  # a spinner may have left half a line


def peak_memory_mb(pid: int | str = "self") -> float:
    """The largest resident memory that a process has had (VmHWM), in MB of 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f"process {pid} has ended")


def stolen_percent(before: Any, after: Any) -> float:
    """How much of the processor time that this machine wanted its host gave to others (psutil.cpu_times)."""
    idle = after.idle - before.idle + after.iowait - before.iowait
    wanted = sum(after[:8]) - sum(before[:8]) - idle  # behind these come guests, which are in them
    return 100 * (after.steal - before.steal) / wanted if wanted > 0 else 0.0


class Meter:
    """Counts a peer's events; after the last one it reports and ends the process.

    Measured is the time from the first event to the last one, without start-up and shutdown.
    """

    def __init__(self, events: int) -> None:
        self._events = events
        self._seen = 0
        self._step = max(1, events // _REPORTS)
        self._next = self._step
        self._started = self._cpu = 0.0

    def start(self) -> None:
        """Call before the first event is worked on; later calls do nothing."""
        if not self._started:
            self._started, self._cpu = time.perf_counter(), _cpu_seconds()

    def count(self) -> None:
        """Call when an event is done."""
        self._seen += 1
        if self._seen == self._next:
            self._next += self._step
            report(done=self._seen)
        if self._seen == self._events:
            self._finish()

    def _finish(self) -> NoReturn:
        seconds = time.perf_counter() - self._started
        report(
            events=self._seen,
            seconds=seconds,
            events_per_second=self._seen / seconds,
            cpu_seconds=_cpu_seconds() - self._cpu,
            peak_memory_mb=peak_memory_mb(),
        )
        os._exit(0)  # a peer's orderly shutdown takes long and is not measured


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

"""The clock of pytest-benchmark here: it shows the seconds that the measured programs report."""

from __future__ import annotations


class Stopwatch:
    """A timer for pytest-benchmark whose time is measured in a child process, not around the call.

    Start-up, checks and shutdown of the child are part of the call but not of the measured time.
    """

    __name__ = "stopwatch"

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        return self._seconds

    def advance(self, seconds: float) -> None:
        """A program reports that it was at work for so long."""
        self._seconds += seconds


stopwatch = Stopwatch()

"""Notices that something has stopped moving."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.child import ChildError


class Stall:
    """Told how far a job is; raises ChildError when it has not moved on for `seconds_max`."""

    def __init__(
        self, name: str, seconds_max: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._seconds_max = seconds_max
        self._clock = clock
        self._done = -1
        self._since = clock()

    def at(self, done: int) -> None:
        """So much is done."""
        now = self._clock()
        if done != self._done:
            self._done, self._since = done, now
        elif now - self._since > self._seconds_max:
            raise ChildError(
                f"{self._name} has not moved on from {done} events for {self._seconds_max:.0f} s"
            )

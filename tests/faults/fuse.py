"""The fuse of a worker that runs `tests.faults.crashing_job`."""

from __future__ import annotations

from pathlib import Path

STEPS = (
    "begun",
    "produced",
    "offsets sent",
    "commit sent",
    "committed",
    "before the store",
    "after the store",
    "before it is the state",
)
"""At which the worker dies."""
LATE_COMMIT = "commit late"
BROKER_KILLED = "commit sent, broker killed"
"""By the worker: the broker of the folder that TEST_BROKER names."""


class Fuse:
    """Names the step of the worker's next checkpoint at which something goes wrong; burnt once it has.

    It numbers what it names, so that what the worker draws then is something else each time.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._count = path, 0
        self.environment = {"TEST_FUSE": str(path)}

    def light(self, step: str) -> None:
        """This step is the one."""
        self._count += 1
        draft = self._path.with_suffix(".draft")
        draft.write_text(f"{self._count} {step}")
        draft.rename(self._path)

    @property
    def burnt(self) -> bool:
        """Whether it has happened, or never was to."""
        return not self._path.exists()

    def put_out(self) -> bool:
        """It is not to happen any more; False: it has."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

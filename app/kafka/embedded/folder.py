"""The data folder of an embedded broker: its files, its state and the two locks that share it.

- `supervisor.lock` is held exclusively by the one supervisor for as long as it lives.
- `users.lock` is held shared by everyone who uses the broker; whoever gets it exclusively knows
  that nobody does. The kernel lets go of both when a process dies, however it dies.
- `broker.json` is written by the supervisor only, atomically.
- `keep` stands for a user without a process (`./run broker start`).
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Phase = Literal["starting", "running", "failed", "stopped"]


@dataclass(frozen=True)
class ProcessId:
    """A process, told apart from a later one of the same number by its start time."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """The identity of a living process. Raises ProcessLookupError when there is none."""
        start_ticks = _start_ticks(pid)
        if start_ticks is None:
            raise ProcessLookupError(pid)
        return cls(pid, start_ticks)

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return _start_ticks(self.pid) == self.start_ticks

    def signal(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _start_ticks(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class State:
    """What the supervisor says about its broker; `problem` and `remedy` when it failed."""

    phase: Phase
    supervisor: ProcessId
    jvm: ProcessId | None
    port: int
    controller_port: int
    cluster_id: str
    restarts: int = 0
    problem: str = ""
    remedy: str = ""


class Folder:
    """Paths, state and locks below one data folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.state_path = self.path / "broker.json"
        self.keep_path = self.path / "keep"
        self.data_path = self.path / "data"
        self.log_path = self.path / "logs"
        self.users_lock_path = self.path / "users.lock"
        self.supervisor_lock_path = self.path / "supervisor.lock"

    def read_state(self) -> State | None:
        """The last written state, or None when there is none that can be read."""
        try:
            fields = json.loads(self.state_path.read_text())
            fields["supervisor"] = ProcessId(**fields["supervisor"])
            fields["jvm"] = ProcessId(**fields["jvm"]) if fields["jvm"] else None
            return State(**fields)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write_state(self, state: State) -> None:
        """Replace the state; readers see the old or the new one, never a part."""
        draft = self.state_path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(state), indent=1))
        draft.replace(self.state_path)

    def supervised(self) -> bool:
        """Whether a supervisor lives."""
        lock = take_lock(self.supervisor_lock_path, fcntl.LOCK_SH)
        if lock is None:
            return True
        os.close(lock)
        return False


def take_lock(path: Path, kind: int, *, wait: bool = False) -> int | None:
    """Take a shared or exclusive flock; its file descriptor, or None when another has it.

    Closing the descriptor lets go of the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor

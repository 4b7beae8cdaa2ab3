"""A worker's own place in its application's folder, and the name that goes with it."""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from pathlib import Path

from app.state.small_file import write_whole

_SLOTS_MAX = 256


class SlotError(RuntimeError):
    """No place in the data directory can be had; the message says why."""


class WorkerSlot:
    """One of the folders worker-0, worker-1, … of the application, locked for this process.

    The lock goes with the process, so a worker that was killed leaves its folder to the next one, which
    goes on with its state. `id` is stable for the folder: Kafka's static membership and the transactional
    id are made from it, so that the next worker fences what the killed one has left.
    """

    def __init__(self, path: Path, lock: int, identity: str) -> None:
        self.path = path
        self.id = identity
        self._lock = lock

    @classmethod
    def take(cls, folder: Path, worker_id: str = "") -> WorkerSlot:
        """Lock the first free folder, or the one of `worker_id`. SlotError: there is none."""
        folder.mkdir(parents=True, exist_ok=True)
        names = [worker_id] if worker_id else [f"worker-{number}" for number in range(_SLOTS_MAX)]
        for name in names:
            path = folder / name
            path.mkdir(exist_ok=True)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            return cls(path, lock, worker_id or cls._identity(path))
        raise SlotError(
            f"another worker uses {folder / names[0]}"
            if worker_id
            else f"all {_SLOTS_MAX} worker folders of {folder} are in use; give this worker its own HEADRACE_DATA_DIR"
        )

    @staticmethod
    def _identity(path: Path) -> str:
        """The folder's name, or a new one where there is none that is whole."""
        file = path / "id"
        found = file.read_text(errors="replace") if file.exists() else ""
        if not re.fullmatch(rf"{path.name}-[0-9a-f]{{12}}", found):
            found = f"{path.name}-{uuid.uuid4().hex[:12]}"
            write_whole(file, found)
        return found

    def release(self) -> None:
        """Let another worker have it."""
        os.close(self._lock)

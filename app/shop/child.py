"""Child processes that never outlive their parent, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from app.settings import ROOT

END_TIMEOUT_S = 20.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class ChildError(RuntimeError):
    """A child process has ended too early; the message has its last words."""


class Child:
    """A process in a group of its own, its output in a file; ends with the `with` block.

    Start it from the main thread: the kernel kills it when the thread that started it ends.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log_path: Path
    ) -> None:
        self.name = name
        self.log_path = log_path
        parent = os.getpid()

        def die_with_parent() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it has died already
                os._exit(1)

        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends its children
                preexec_fn=die_with_parent,
            )

    def running(self) -> bool:
        """Whether it goes on. ChildError: it has failed."""
        code = self._process.poll()
        if code not in (None, 0):
            raise self._error(code)
        return code is None

    def check(self) -> None:
        """ChildError: it has ended, in whatever way."""
        code = self._process.poll()
        if code is not None:
            raise self._error(code)

    def end(self) -> None:
        """SIGTERM, and SIGKILL to it and all that it started when that does not help."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.end()

    def _error(self, code: int) -> ChildError:
        what = f"was killed by signal {-code}" if code < 0 else f"has ended with exit code {code}"
        lines = self.log_path.read_text(errors="replace").splitlines()[-15:]
        said = [f"  {line}" for line in lines] or ["  (nothing)"]
        return ChildError("\n".join([f"the {self.name} {what}; its last words:", *said]))

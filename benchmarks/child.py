"""Child processes: started, listened to, watched, and always ended."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from benchmarks.meter import peak_memory_mb

ROOT = Path(__file__).parents[1]
CPU_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_END_TIMEOUT_S = 5.0
_LOG_TAIL_LINES = 30


class ChildError(RuntimeError):
    """A child process ended early or is too silent; the message has its last words."""


def cpu_seconds(pid: int, since: float = 0.0) -> float:
    """What a process has used of the processor, all threads, since it had used `since` seconds.

    The kernel tells it in ticks of CPU_TICK_S; less than one is told as one, so that a rate can be made of it.
    """
    return max(CPU_TICK_S, sum(psutil.Process(pid).cpu_times()[:2]) - since)


class Child:
    """A Python process in a process group of its own; ends with the `with` block.

    arguments: what follows `python`. root: the checkout that it runs. Standard output is JSON lines (see
    `meter.report`); other lines and standard error go to `log_path`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log_path: Path,
        *,
        root: Path = ROOT,
    ) -> None:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self.name = log_path.stem
        self.environment = environment
        self._log_path = log_path
        self._log = log_path.open("ab")
        self._reports: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=root,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C reaches the runner alone, which then ends its children
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def reports(self, silence_s_max: float) -> Iterator[dict[str, Any]]:
        """What the child reports, until it ends by itself.

        Raises ChildError when it fails, or is silent for longer than `silence_s_max`.
        """
        while True:
            try:
                found = self._reports.get(timeout=silence_s_max)
            except queue.Empty:
                raise self._error(f"said nothing for {silence_s_max:.0f} s") from None
            if found is None:
                if self._process.wait() != 0:
                    raise self._error(f"ended with exit code {self._process.returncode}")
                return
            yield found

    def heard(self) -> list[dict[str, Any]]:
        """What the child has reported since it was last asked."""
        found = []
        while not self._reports.empty():
            if (item := self._reports.get()) is not None:
                found.append(item)
        return found

    def kill(self) -> None:
        """SIGKILL, without any chance to tidy up."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM; returns at once."""
        self._signal(signal.SIGTERM)

    def check_alive(self) -> None:
        """Raise ChildError when the process has ended."""
        if self._process.poll() is not None:
            raise self._error(f"ended with exit code {self._process.returncode}")

    def peak_memory_mb(self) -> float:
        """The largest resident memory so far."""
        return peak_memory_mb(self.pid)

    def end(self) -> None:
        """End the process and what it started: SIGTERM, and SIGKILL when that does not help."""
        if self._process.poll() is None:
            self.stop()
            try:
                self._process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self._listener.join(1)
        self._log.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.end()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.startswith(b"{"):
                    self._reports.put(json.loads(line))
                elif line.strip():
                    self._log.write(line)
        self._reports.put(None)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def _error(self, fact: str) -> ChildError:
        self._log.flush()
        lines = self._log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return ChildError(
            "\n".join([f"{self.name} {fact}; its log ({self._log_path}) ends:", *lines])
        )

"""The small process that watches one embedded broker: `python -m app.kafka.embedded.supervisor DIR`.

It detaches from whoever started it, restarts a broker that died, and stops it when nobody has used
it for a while, so that killed users leave nothing behind. Only the supervisor starts the JVM, and
the JVM ends when the supervisor does.
"""

from __future__ import annotations

import base64
import fcntl
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from types import FrameType

from app.kafka.embedded.error import BrokerError
from app.kafka.embedded.folder import Folder, Phase, ProcessId, State, take_lock
from app.kafka.embedded.jars import ensure_jars
from app.kafka.embedded.jvm import STOP_TIMEOUT_S, BrokerJvm, choose_ports
from app.kafka.embedded.startup_cache import startup_flags

WATCH_INTERVAL_S = 0.2
LINGER_S = 10.0
# A broker that dies this often, each time within this long, is not started again. One that somebody has
# killed is not to blame, and is: unless it was the kernel, for want of memory.
EARLY_DEATHS_MAX = 3
EARLY_DEATH_S = 10.0
# The exit code that says that the folder has a supervisor already.
ALREADY_SUPERVISED = 3


class Supervisor:
    """Keeps the broker of one folder alive while it is used."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.stopping = False
        before = folder.read_state()
        self.before = before
        self.identity = ProcessId.of(os.getpid())
        self.cluster_id = _cluster_id(folder)
        self.ports = (before.port, before.controller_port) if before and before.port else None
        self.restarts = 0

    def run(self) -> None:
        """Start the broker and watch it until it is no longer wanted."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.folder.keep_path.unlink(missing_ok=True)
        try:
            self._write("starting", None)
            self._end_orphan()
            self._watch(ensure_jars(_log))
        except BrokerError as error:
            _log(str(error))
            self._write("failed", None, error)
        except OSError as error:
            _log(str(error))
            remedy = f"see whether {self.folder.path} can be written"
            self._write("failed", None, BrokerError(str(error), remedy))
        else:
            self._write("stopped", None)

    def _watch(self, jars: list[Path]) -> None:
        early_deaths = 0
        while not self.stopping:
            self.ports = choose_ports(self.ports)
            jvm = BrokerJvm(self.folder, jars, *self.ports, startup_flags())
            jvm.write_configuration()
            jvm.format_storage(self.cluster_id)
            started, out_of_memory = time.monotonic(), _out_of_memory_kills()
            self._write("running", jvm.start())
            self._until_end(jvm)
            if self.stopping:
                jvm.stop(_log)
                return
            assert jvm.process is not None
            fact = f"Kafka ended unexpectedly (exit code {jvm.process.returncode})"
            killed = jvm.process.returncode == -signal.SIGKILL
            if not killed or _out_of_memory_kills() != out_of_memory:
                early = time.monotonic() - started < EARLY_DEATH_S
                early_deaths = early_deaths + 1 if early else 0
            if early_deaths >= EARLY_DEATHS_MAX:
                raise jvm.failure(fact)
            _log(f"{fact}: starting it again")
            self.restarts += 1

    def _until_end(self, jvm: BrokerJvm) -> None:
        """Return when the JVM has ended or should end."""
        assert jvm.process is not None
        used_last = time.monotonic()
        while not self.stopping and jvm.process.poll() is None:
            time.sleep(WATCH_INTERVAL_S)
            if self._in_use():
                used_last = time.monotonic()
            elif time.monotonic() - used_last > LINGER_S:
                _log(f"nobody has used the broker for {LINGER_S:.0f} s: stopping it")
                self.stopping = True

    def _in_use(self) -> bool:
        if self.folder.keep_path.exists():
            return True
        lock = take_lock(self.folder.users_lock_path, fcntl.LOCK_EX)
        if lock is None:
            return True
        os.close(lock)
        return False

    def _end_orphan(self) -> None:
        """Wait for the end of a broker whose supervisor was killed."""
        orphan = self.before.jvm if self.before else None
        if orphan is None:
            return
        deadline = time.monotonic() + STOP_TIMEOUT_S
        orphan.signal(signal.SIGTERM)
        while orphan.alive():
            time.sleep(0.05)
            if time.monotonic() > deadline:
                orphan.signal(signal.SIGKILL)

    def _write(self, phase: Phase, jvm: ProcessId | None, error: BrokerError | None = None) -> None:
        port, controller_port = self.ports or (0, 0)
        self.folder.write_state(
            State(
                phase=phase,
                supervisor=self.identity,
                jvm=jvm,
                port=port,
                controller_port=controller_port,
                cluster_id=self.cluster_id,
                restarts=self.restarts,
                problem=error.fact if error else "",
                remedy=error.remedy if error else "",
            )
        )

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True


def _cluster_id(folder: Folder) -> str:
    """The id in the formatted storage, or a new one."""
    try:
        for line in (folder.data_path / "meta.properties").read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "cluster.id":
                return value.strip()
    except OSError:
        pass
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _out_of_memory_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return 0


def _log(message: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")
    sys.stderr.flush()


def main() -> None:
    """Become the supervisor of the folder, unless it has one; the caller returns at once."""
    folder = Folder(Path(sys.argv[1]))
    lock = take_lock(folder.supervisor_lock_path, fcntl.LOCK_EX)
    if lock is None:
        sys.exit(ALREADY_SUPERVISED)
    if os.fork() > 0:
        return
    os.setsid()
    os.chdir("/")
    Supervisor(folder).run()


if __name__ == "__main__":
    main()

"""The embedded broker: a real single-node Apache Kafka on loopback, shared by its users.

Whoever comes first starts it, the others find it, the last one out stops it. A supervisor process
(`supervisor.py`) restarts it when it crashes and stops it when all users were killed.
It has one node, no replication, no TLS and no authentication: it is not for production.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from app.kafka.embedded.error import BrokerError
from app.kafka.embedded.folder import Folder, State, take_lock
from app.kafka.embedded.jars import ensure_jars
from app.kafka.embedded.jvm import DISK_FREE_MB_MIN, HOST, MEMORY_MB_MIN, STOP_TIMEOUT_S
from app.kafka.embedded.startup_cache import ensure_startup_cache
from app.kafka.embedded.supervisor import ALREADY_SUPERVISED

START_TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.05

__all__ = ["Broker", "BrokerError", "BrokerStatus", "broker_status", "ensure_broker", "stop_broker"]


@dataclass(frozen=True)
class BrokerStatus:
    """What is known of the broker of a folder; `answers` says whether clients can use it now."""

    running: bool
    answers: bool
    bootstrap_servers: str
    pid: int | None
    restarts: int
    log_path: Path


class Broker:
    """One use of the embedded broker; `close` it, or leave its `with` block, to let go of it.

    `owned` says whether this process had to start it. A process that ends without `close` lets go
    as well; the broker then stops after a few seconds without users.
    """

    def __init__(self, folder: Folder, users_lock: int, state: State, *, owned: bool) -> None:
        self._folder = folder
        self._users_lock: int | None = users_lock
        self.bootstrap_servers = f"{HOST}:{state.port}"
        self.owned = owned

    @property
    def pid(self) -> int | None:
        """The process id of the broker's JVM as of now; it changes when it was restarted."""
        state = self._folder.read_state()
        return state.jvm.pid if state and state.jvm else None

    def keep(self) -> None:
        """Let the broker live on without users, until `stop_broker`."""
        self._folder.keep_path.touch()

    def close(self) -> None:
        """Let go of the broker; stop it when nobody else uses it. Closing twice does nothing."""
        if self._users_lock is None:
            return
        os.close(self._users_lock)
        self._users_lock = None
        if not self._folder.keep_path.exists():
            alone = _take_patiently(self._folder.users_lock_path)
            if alone is not None:
                _stop_supervisor(self._folder)
                os.close(alone)

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()


def ensure_broker(data_dir: Path, *, log: Callable[[str], None] | None = None) -> Broker:
    """Return the running broker of the project whose data is in `data_dir`; start it if need be.

    Its files are below `data_dir / "broker"`. `log` gets the few lines that a user should see
    (standard error when not given). Raises BrokerError, with the remedy, when there is none to be had.
    """
    log = log or _print
    folder = _folder(data_dir)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        users_lock = take_lock(folder.users_lock_path, fcntl.LOCK_SH, wait=True)
    except OSError as error:
        raise BrokerError(
            f"cannot use {folder.path} for the embedded broker: {error.strerror}",
            "choose a data directory that you can write",
        ) from error
    assert users_lock is not None
    try:
        state, owned = _running_state(folder, log)
    except BaseException:
        os.close(users_lock)
        raise
    broker = Broker(folder, users_lock, state, owned=owned)
    if owned:
        log(
            f"embedded Kafka is up on {broker.bootstrap_servers}: one node, no replication, "
            "no TLS, NOT FOR PRODUCTION (set HEADRACE_BROKER for a real cluster)"
        )
    return broker


def stop_broker(data_dir: Path) -> bool:
    """Stop the broker of `data_dir`, whoever uses it; False when none was running."""
    folder = _folder(data_dir)
    if not folder.path.is_dir() or not folder.supervised():
        return False
    _stop_supervisor(folder)
    return True


def broker_status(data_dir: Path) -> BrokerStatus:
    """Say whether the broker of `data_dir` runs and answers."""
    folder = _folder(data_dir)
    supervised = folder.path.is_dir() and folder.supervised()
    state = folder.read_state() if supervised else None
    running = state is not None and state.jvm is not None and state.jvm.alive()
    return BrokerStatus(
        running=running,
        answers=running and state is not None and _answers(state, timeout_s=2.0),
        bootstrap_servers=f"{HOST}:{state.port}" if state and running else "",
        pid=state.jvm.pid if state and state.jvm and running else None,
        restarts=state.restarts if state else 0,
        log_path=folder.log_path,
    )


def _folder(data_dir: Path) -> Folder:
    return Folder(data_dir / "broker")


def _running_state(folder: Folder, log: Callable[[str], None]) -> tuple[State, bool]:
    """Wait until the broker answers; (its state, whether this process started it)."""
    owned = False
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        state = folder.read_state()
        if not folder.supervised():
            if owned and state and state.phase == "failed":
                raise BrokerError(state.problem, state.remedy)
            _check_disk(folder)
            _check_memory()
            ensure_startup_cache(ensure_jars(log), log)
            owned = _spawn_supervisor(folder) or owned
        elif state and state.phase == "running" and _answers(state, timeout_s=1.0):
            return state, owned
        time.sleep(POLL_INTERVAL_S)
    raise BrokerError(
        f"the embedded broker did not answer within {START_TIMEOUT_S:.0f} s",
        f"its log is in {folder.log_path}",
    )


def _spawn_supervisor(folder: Folder) -> bool:
    """Start the supervisor; True when it is ours, False when another one was quicker."""
    folder.log_path.mkdir(exist_ok=True)
    root = Path(__file__).parents[3]
    with (folder.log_path / "supervisor.log").open("ab") as output:
        if output.tell() > 1_000_000:
            output.truncate(0)
        done = subprocess.run(
            [sys.executable, "-m", "app.kafka.embedded.supervisor", str(folder.path)],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    if done.returncode == ALREADY_SUPERVISED:
        return False
    if done.returncode != 0:
        raise BrokerError(
            f"the broker's supervisor ended with exit code {done.returncode}",
            f"see {folder.log_path / 'supervisor.log'}",
        )
    return True


def _answers(state: State, *, timeout_s: float) -> bool:
    """Whether this very cluster (not another one on the port) serves clients."""
    with suppress(OSError):
        socket.create_connection((HOST, state.port), timeout_s).close()
        return _cluster_id(f"{HOST}:{state.port}", timeout_s) == state.cluster_id
    return False


def _cluster_id(bootstrap_servers: str, timeout_s: float) -> str | None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        metadata = client.list_topics(timeout=timeout_s)
    except KafkaException:
        return None
    return str(metadata.cluster_id) if metadata.brokers else None


def _stop_supervisor(folder: Folder) -> None:
    state = folder.read_state()
    if state is None or not state.supervisor.alive():
        return
    state.supervisor.signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S + 5
    while state.supervisor.alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    folder.keep_path.unlink(missing_ok=True)


def _take_patiently(path: Path) -> int | None:
    """The exclusive lock, tried a few times: the supervisor holds it now and then."""
    for _attempt in range(5):
        lock = take_lock(path, fcntl.LOCK_EX)
        if lock is not None:
            return lock
        time.sleep(0.01)
    return None


def _check_disk(folder: Folder) -> None:
    stats = os.statvfs(folder.path)
    free_mb = stats.f_bavail * stats.f_frsize // 1_000_000
    if free_mb < DISK_FREE_MB_MIN:
        raise BrokerError(
            f"only {free_mb} MB are free on the disk that holds {folder.path}",
            f"the embedded broker needs {DISK_FREE_MB_MIN} MB at least",
        )


def _check_memory() -> None:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available_mb = int(line.split()[1]) // 1000
            if available_mb < MEMORY_MB_MIN:
                raise BrokerError(
                    f"only {available_mb} MB of memory are available",
                    f"the embedded broker needs {MEMORY_MB_MIN} MB: end some other programs, or "
                    "set HEADRACE_BROKER=host:port to use a Kafka elsewhere",
                )


def _print(message: str) -> None:
    sys.stderr.write(f"{message}\n")

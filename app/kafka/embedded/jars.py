"""The jars of Apache Kafka: fetched by jgo on first use, cached per user, checked on every start.

`jars.lock` lists every jar with its SHA-256 and size. A jar that is missing or differs is
fetched again; one that still differs is an error. `python -m app.kafka.embedded.jars VERSION` writes
the lock anew for another version of Kafka.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.kafka.embedded.error import BrokerError

LOCK_PATH = Path(__file__).with_name("jars.lock")
FETCH_ATTEMPTS_MAX = 3
# Kafka logs through slf4j to log4j; its own list of dependencies leaves the bridge out.
LOGGING_BRIDGE = "log4j-slf4j-impl"

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Jar:
    """One jar of the lock file: its Maven coordinate, SHA-256 and size."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    def path(self, repository: Path) -> Path:
        """Where the jar lies in a local Maven repository."""
        folder = repository.joinpath(*self.group.split("."), self.artifact, self.version)
        return folder / f"{self.artifact}-{self.version}.jar"

    def intact(self, repository: Path) -> bool:
        """Whether the jar is there with the size and checksum of the lock file."""
        path = self.path(repository)
        try:
            if path.stat().st_size != self.size_bytes:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


def read_lock() -> list[Jar]:
    """The jars of the lock file; the first one is the Kafka broker itself."""
    jars = []
    for line in LOCK_PATH.read_text().splitlines():
        if line and not line.startswith("#"):
            coordinate, sha256, size_bytes = line.split()
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(group, artifact, version, sha256, int(size_bytes)))
    return jars


def cache_dir() -> Path:
    """The user's cache folder for Headrace, after the XDG base directory specification."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if Path(root).is_absolute() else Path.home() / ".cache") / "headrace"


def ensure_jars(log: Callable[[str], None]) -> list[Path]:
    """Return the class path of the broker; fetch what is missing or damaged.

    Raises BrokerError when a jar cannot be fetched, stored, or does not match the lock file.
    """
    jars = read_lock()
    repository = cache_dir() / "kafka"
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with (repository / "fetch.lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            damaged = [jar for jar in jars if not jar.intact(repository)]
            if damaged:
                _fetch_all(damaged, jars[0].version, repository, log)
    except OSError as error:
        raise BrokerError(
            f"cannot store Kafka's jars in {repository}: {error.strerror or error}",
            "free some disk space, or set XDG_CACHE_HOME to a folder that can be written",
        ) from error
    return [jar.path(repository) for jar in jars]


def _fetch_all(
    jars: list[Jar], kafka_version: str, repository: Path, log: Callable[[str], None]
) -> None:
    size_mb = sum(jar.size_bytes for jar in jars) / 1e6
    what = f"fetching Apache Kafka {kafka_version} ({len(jars)} files, {size_mb:.0f} MB)"
    with _progress(what, sum(jar.size_bytes for jar in jars), log) as advance:
        for jar in jars:
            _fetch(jar, repository, advance)


def _fetch(jar: Jar, repository: Path, advance: Advance) -> None:
    import requests
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def report(_filename: str, _size_bytes: int) -> Iterator[Advance]:
        yield advance

    context = MavenContext(
        repo_cache=repository, resolver=PythonResolver(progress_callback=report), timeout=30
    )
    path = jar.path(repository)
    reason: object = "its checksum is not the one in jars.lock"
    for _attempt in range(FETCH_ATTEMPTS_MAX):
        path.unlink(missing_ok=True)
        try:
            context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        except (requests.RequestException, RuntimeError) as error:
            reason = _short(error)
            continue
        if jar.intact(repository):
            return
    path.unlink(missing_ok=True)
    raise BrokerError(
        f"cannot fetch {jar.artifact} {jar.version} of Apache Kafka: {reason}",
        "the embedded broker needs the network on its first use only; connect (HTTPS_PROXY is "
        "heeded) and start again, or set HEADRACE_BROKER=host:port to use a Kafka of your own",
    )


def _short(error: Exception) -> str:
    import requests

    if isinstance(error, requests.ConnectionError):
        return "no connection to the Maven repository"
    return " ".join(str(error).split())[:200]


@contextmanager
def _progress(what: str, total_bytes: int, log: Callable[[str], None]) -> Iterator[Advance]:
    if not sys.stderr.isatty():
        log(what)
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total_bytes)
        yield lambda count: bar.update(task, advance=count)


def write_lock(kafka_version: str, repository: Path) -> None:
    """Resolve Kafka and all that it needs, and write the lock file."""
    from jgo.maven import MavenContext
    from jgo.parse import Coordinate

    context = MavenContext(repo_cache=repository)
    kafka = context.create_dependency(
        Coordinate.parse(f"org.apache.kafka:kafka_2.13:{kafka_version}")
    )
    inputs, transitive = context.resolver.resolve([kafka])
    artifacts: list[Any] = [dependency.artifact for dependency in [*inputs, *transitive]]
    core = next(artifact for artifact in artifacts if artifact.artifactId == "log4j-core")
    bridge = context.project(core.groupId, LOGGING_BRIDGE).at_version(core.version).artifact()
    lines = ["# Written by python -m app.kafka.embedded.jars: coordinate, SHA-256, size in bytes."]
    for artifact in [*artifacts, bridge]:
        content = artifact.resolve().read_bytes()
        coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        lines.append(f"{coordinate} {hashlib.sha256(content).hexdigest()} {len(content)}")
    LOCK_PATH.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_lock(sys.argv[1], cache_dir() / "kafka")

"""Sets up the virtual environment of `./run`: `python environment.py VENV REQUIREMENTS CHECKSUM`.

Runs under the user's own Python before anything is installed, so it needs the standard library
only. Two that run at once wait for each other. The checksum is written last, as the stamp that the
environment holds these requirements: an interrupted set-up is simply done again.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DISK_MB_MIN = 1500
NO_NETWORK = re.compile(
    r"NewConnectionError|Name or service not known|name resolution|Network is unreachable|"
    r"Connection refused|ConnectTimeout|ReadTimeout|ProxyError|Max retries exceeded|"
    r"from versions: none"
)


class SetupError(Exception):
    """The set-up cannot go on; the message holds the fact and the remedy."""


def main(arguments: list[str]) -> int:
    """Bring the virtual environment up to date."""
    venv, requirements, checksum = Path(arguments[0]), arguments[1], arguments[2]
    try:
        venv.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(venv.parent, os.O_RDONLY)
        _take(lock)
        stamp = venv / f".headrace-{requirements}"
        if not _is_sound(venv):
            _create(venv)
        if not stamp.exists() or stamp.read_text() != f"{checksum}\n":
            _install(venv, requirements)
            _compile_kernels(venv)
            draft = stamp.with_suffix(".draft")
            draft.write_text(f"{checksum}\n")
            draft.replace(stamp)
    except SetupError as error:
        sys.stderr.write(f"headrace: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"headrace: cannot set up {venv}: {error.strerror or error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nheadrace: set-up interrupted; the next ./run goes on with it\n")
        return 130
    return 0


def _take(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write("waiting for the set-up that another ./run does\n")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _is_sound(venv: Path) -> bool:
    """Whether the environment has a working pip and the version of Python that is asked for."""
    code = "import pip, sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([venv / "bin/python", "-c", code], capture_output=True, text=True)
    except OSError:
        return False
    wanted = ["3.11", "3.12", "3.13"]
    if os.environ.get("HEADRACE_PYTHON"):
        wanted = [f"{sys.version_info.major}.{sys.version_info.minor}"]
    return done.returncode == 0 and done.stdout.strip() in wanted


def _create(venv: Path) -> None:
    version = platform.python_version()
    sys.stderr.write(f"making a virtual environment with Python {version} in {venv}\n")
    # The very file, so that a later upgrade of `python3` does not change the environment's version.
    python = os.path.realpath(sys.executable)
    done = subprocess.run(
        [python, "-m", "venv", "--clear", venv], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = " ".join((done.stdout + done.stderr).split())
        if "ensurepip" in said:
            minor = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise SetupError(
                f"Python {minor} ({python}) has no ensurepip, which makes virtual environments; "
                f"install it (Debian, Ubuntu: apt install python{minor}-venv)"
            )
        _raise_if_disk_full(said)
        raise SetupError(f"making the virtual environment failed: {said[-400:]}")


def _install(venv: Path, requirements: str) -> None:
    disk = os.statvfs(venv)
    free_mb = disk.f_bavail * disk.f_frsize // 1_000_000
    if free_mb < DISK_MB_MIN and not any(venv.glob(".headrace-*")):
        raise SetupError(f"only {free_mb} MB free for {venv}; it needs {DISK_MB_MIN} MB")
    if platform.machine() == "x86_64":
        options = ["--only-binary", ":all:"]
    else:
        # faust-streaming has no wheel there: build it with pinned tools, without a compiler.
        options = ["--prefer-binary", "--no-build-isolation"]
        _pip(venv, "build", ["--only-binary", ":all:"])
    _pip(venv, requirements, options)


def _compile_kernels(venv: Path) -> None:
    """Fill numba's cache, so that the first worker does not have to; if that fails, it will say why."""
    sys.stderr.write("compiling the kernels that take events apart (once, up to a minute)\n")
    code = "from app.codecs.json_columns import warm_up; warm_up()"
    subprocess.run([venv / "bin/python", "-c", code], cwd=ROOT, capture_output=True, check=False)


def _pip(venv: Path, requirements: str, options: list[str]) -> None:
    path = ROOT / "requirements" / f"{requirements}.txt"
    total = len(re.findall(r"^\S+==", path.read_text(), re.MULTILINE))
    command: list[str | Path] = [
        venv / "bin/python",
        "-m",
        "pip",
        "install",
        "--require-hashes",
        "--no-deps",
    ]
    command += ["--disable-pip-version-check", "--no-input", "--retries", "2", "--timeout", "30"]
    command += ["--progress-bar", "off", *options, "-r", path]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_NO_BINARY", "PIP_CONSTRAINT")
    }
    started = time.monotonic()
    line = ProgressLine(f"installing {total} Python packages")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as pip:
        assert pip.stdout is not None
        said = []
        collected = 0
        for text in pip.stdout:
            said.append(text)
            if text.startswith(("Collecting ", "Requirement already satisfied: ")):
                collected += 1
                line.show(f"{collected} of {total} fetched")
            elif text.startswith("Installing collected"):
                line.show("unpacking")
    if pip.returncode != 0:
        line.end("failed")
        raise SetupError(_reason("".join(said)))
    line.end(f"done in {time.monotonic() - started:.0f} s")


def _reason(said: str) -> str:
    _raise_if_disk_full(said)
    if NO_NETWORK.search(said):
        return (
            "cannot fetch the Python packages: no network; connect (HTTPS_PROXY and pip's own "
            "settings are heeded) and start again"
        )
    errors = [line for line in said.splitlines() if line.startswith("ERROR")]
    return f"installing the Python packages failed: {' '.join(errors or said.splitlines()[-3:])}"


def _raise_if_disk_full(said: str) -> None:
    if "No space left on device" in said:
        raise SetupError("the disk is full; the set-up needs about 1.5 GB")


class ProgressLine:
    """One line on standard error: rewritten on a terminal, its start and end only elsewhere."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.terminal = sys.stderr.isatty()
        self.show("")

    def show(self, state: str) -> None:
        """Show how far it is."""
        if self.terminal:
            sys.stderr.write(f"\r\x1b[K{self.what}: {state}" if state else f"\r\x1b[K{self.what}")
            sys.stderr.flush()

    def end(self, state: str) -> None:
        """Show how it ended."""
        sys.stderr.write(
            f"{chr(13) + chr(27) + '[K' if self.terminal else ''}{self.what}: {state}\n"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

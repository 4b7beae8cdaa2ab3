"""`./run demo` as users meet it: the reckoning at its end, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.settings import ROOT

LAST_LINE = re.compile(
    r"demo: (\d+) events in, (\d+) derived events out, (\d+) late, (\d+) dead-lettered, 0 lost"
)
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, broker: str) -> Iterator[Start]:
    """Starts a demo with its own data directory on the session's broker."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        mine = {"HEADRACE_BROKER": broker, "HEADRACE_DATA_DIR": str(tmp_path), **environment}
        demo = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "demo", *arguments],
            cwd=ROOT,
            env={**os.environ, **mine},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(demo)
        return demo

    yield begin
    for demo in started:
        if demo.poll() is None:
            demo.kill()
            demo.wait()


def processes_of(data_dir: Path) -> dict[int, str]:
    """The processes, but for zombies, that were started with this data directory: id to command."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(data_dir).encode() in (folder / "environ").read_bytes():
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(folder.name)] = command
    return found


def wait_for(what: Callable[[], bool], *, seconds: float) -> None:
    """Until it holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def read_until(demo: subprocess.Popen[str], words: str) -> str:
    """The demo's output up to the line that holds these words."""
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"never said {words!r}:\n{said}")


def child(data_dir: Path, words: str) -> int:
    """The process whose command holds these words."""
    return next(pid for pid, command in processes_of(data_dir).items() if words in command)


@pytest.mark.kafka
def test_every_event_is_accounted_for_twice_in_a_row(start: Start, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        demo = start("--seconds", "5", "--rate", "5000", "--seed", seed)
        said, _ = demo.communicate(timeout=180)
        last = LAST_LINE.fullmatch(said.splitlines()[-1])
        assert last is not None, said
        assert demo.returncode == 0
        events, derived, late, dead = map(int, last.groups())
        assert 20_000 <= events <= 25_000
        assert min(derived, late, dead) > 0
        assert "http://127.0.0.1:" in said
        assert processes_of(tmp_path) == {}
        assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["lock"]


@pytest.mark.kafka
def test_stop_leaves_nothing(start: Start, tmp_path: Path) -> None:
    demo = start("--rate", "1000")
    read_until(demo, "events in")
    other = start("--rate", "1000")
    said, _ = other.communicate(timeout=60)
    assert other.returncode == 1
    assert said.count("\n") == 1 and "another demo is running" in said
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert said.splitlines()[-1] == "demo: stopped"
    assert processes_of(tmp_path) == {}


@pytest.mark.kafka
def test_killed_demo_takes_its_children_with_it(start: Start, tmp_path: Path) -> None:
    demo = start("--rate", "1000")
    read_until(demo, "events in")
    assert len(processes_of(tmp_path)) >= 3
    demo.kill()
    demo.wait()
    wait_for(lambda: processes_of(tmp_path) == {}, seconds=5)


@pytest.mark.kafka
def test_dead_worker_is_told_with_its_last_words(start: Start, tmp_path: Path) -> None:
    demo = start("--rate", "1000")
    read_until(demo, "events in")
    os.kill(child(tmp_path, "faust"), signal.SIGKILL)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "the worker was killed by signal 9; its last words:" in said
    assert "Traceback" not in said
    assert processes_of(tmp_path) == {}


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--rate", "fast"], {}, "'fast' is neither a number"),
        (["--seconds", "-1"], {}, "'-1' is no number of seconds"),
        ([], {"HEADRACE_WEB_PORT": "lots"}, "HEADRACE_WEB_PORT is 'lots'"),
        ([], {"HEADRACE_DATA_DIR": "/proc/nowhere"}, "set HEADRACE_DATA_DIR"),
        ([], {"HEADRACE_BROKER": "127.0.0.1:1"}, "127.0.0.1:1"),
    ],
)
def test_mistake_is_told_in_one_line(
    arguments: list[str], environment: dict[str, str], words: str, tmp_path: Path
) -> None:
    mine = {"HEADRACE_BROKER": "127.0.0.1:1", "HEADRACE_DATA_DIR": str(tmp_path), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, **mine},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr

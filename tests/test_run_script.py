"""`./run` on machines as users have them. The set-up is tried with empty requirements, offline."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.cli import environment
from app.cli.__main__ import main

ROOT = Path(__file__).parents[1]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
# What `run` needs besides Python: each is in the smallest Debian.
TOOLS = ("bash", "cat", "cksum", "dirname", "env", "readlink", "sha256sum")
SAY_PREFIX = "import sys\ndef main(arguments): print(sys.prefix, *arguments); return 0\n"
NO_REQUIREMENTS = "# none\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a path with a space; nothing is required, and `demo` says its environment."""
    path = tmp_path / "a checkout"
    (path / "app/cli").mkdir(parents=True)
    (path / "requirements").mkdir()
    shutil.copy(ROOT / "run", path)
    for name in ("__init__.py", "cli/__init__.py", "cli/__main__.py", "cli/environment.py"):
        shutil.copy(ROOT / "app" / name, path / "app" / name)
    (path / "app/__init__.py").write_text("")
    (path / "app/cli/demo.py").write_text(SAY_PREFIX)
    for name in ("build", "headrace", "develop"):
        (path / f"requirements/{name}.txt").write_text(NO_REQUIREMENTS)
    return path


def start(
    checkout: Path, *arguments: str, cwd: Path | None = None, **environ: str
) -> subprocess.Popen[str]:
    """Start `./run` with this Python, and with the given variables besides."""
    return subprocess.Popen(
        [checkout / "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd or checkout,
        env={**os.environ, "HEADRACE_PYTHON": sys.executable, **environ},
    )


def run(
    checkout: Path, *arguments: str, cwd: Path | None = None, **environ: str
) -> tuple[int, str, str]:
    """Run `./run` to its end: exit code, what it said, what it complained about."""
    process = start(checkout, *arguments, cwd=cwd, **environ)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def tools(tmp_path: Path, python3: str | None = None) -> str:
    """A PATH with nothing but what `run` needs, and perhaps a python3 with this text."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in TOOLS:
        (path / name).symlink_to(shutil.which(name) or pytest.skip(f"no {name}"))
    if python3 is not None:
        (path / "python3").write_text(python3)
        (path / "python3").chmod(0o755)
    return str(path)


def test_alone_it_lists_its_commands_and_sets_nothing_up(checkout: Path) -> None:
    for arguments in ((), ("--help",)):
        code, out, err = run(checkout, *arguments)
        assert (code, err) == (0, "")
        assert all(f"./run {name}" in out for name in ("demo", "test", "bench", "broker"))
    assert not (checkout / ".venv").exists()


def test_an_unknown_command_lists_the_known_ones(checkout: Path) -> None:
    code, out, err = run(checkout, "dmeo")
    assert (code, out) == (2, "")
    assert "no command 'dmeo'" in err
    assert "./run demo" in err


def test_it_sets_up_once_and_starts_quickly_then(checkout: Path, tmp_path: Path) -> None:
    code, out, err = run(checkout, "demo", "--seconds", "5", cwd=tmp_path)
    assert (code, out) == (0, f"{checkout}/.venv --seconds 5\n")
    assert "making a virtual environment" in err
    link = tmp_path / "link"
    link.symlink_to(checkout / "run")
    started = time.monotonic()
    again = subprocess.run([link, "demo"], capture_output=True, text=True, check=True)
    assert (again.stdout, again.stderr) == (f"{checkout}/.venv\n", "")
    assert time.monotonic() - started < 2

    (checkout / "requirements/headrace.txt").write_text("# changed\n")
    assert "installing" in run(checkout, "demo")[2]
    assert run(checkout, "demo")[2] == ""


def test_two_at_once_wait_for_each_other(checkout: Path) -> None:
    both = [start(checkout, "demo") for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [out for out, _err in said] == [f"{checkout}/.venv\n"] * 2
    assert sum("making a virtual environment" in err for _out, err in said) == 1


def test_an_interrupted_set_up_is_done_again(checkout: Path) -> None:
    assert run(checkout, "demo")[0] == 0
    (checkout / ".venv/.headrace-headrace").unlink()
    (checkout / ".venv/bin/python").unlink()
    assert run(checkout, "demo")[:2] == (0, f"{checkout}/.venv\n")


def test_a_checkout_of_another_user_is_left_alone(checkout: Path, tmp_path: Path) -> None:
    if os.getuid() == 0:
        os.chown(checkout, 65534, 65534)
    else:
        checkout.chmod(0o555)
    code, out, _err = run(checkout, "demo", XDG_CACHE_HOME=str(tmp_path / "cache"))
    checkout.chmod(0o755)
    assert code == 0
    assert out.startswith(f"{tmp_path}/cache/headrace/venv-")
    assert not (checkout / ".venv").exists()


def test_without_python_it_says_so_in_one_line(checkout: Path, tmp_path: Path) -> None:
    if Path("/usr/bin/python3").exists():
        text = (checkout / "run").read_text().replace(" /usr/bin/python3;", ";")
        (checkout / "run").write_text(text)
    path = tools(
        tmp_path, python3="#!/bin/sh\necho 'pyenv: python3: command not found' >&2; exit 127\n"
    )
    for arguments in ((), ("demo",)):
        code, out, err = run(checkout, *arguments, PATH=path, HEADRACE_PYTHON="")
        assert (code, out) == (1, "")
        assert re.fullmatch(r"headrace: needs Python 3.11, 3.12 or 3.13 .*\n", err)


def test_a_broken_shim_is_passed_over(checkout: Path, tmp_path: Path) -> None:
    path = tools(tmp_path, python3="#!/bin/sh\nexit 127\n")
    (Path(path) / "python3.12").symlink_to(os.path.realpath(sys.executable))
    code, out, _err = run(checkout, "demo", PATH=path, HEADRACE_PYTHON="")
    assert (code, out) == (0, f"{checkout}/.venv\n")


def test_a_wrong_headrace_python_is_named(checkout: Path) -> None:
    code, _out, err = run(checkout, "demo", HEADRACE_PYTHON="/bin/false")
    assert code == 1
    assert re.fullmatch(r"headrace: HEADRACE_PYTHON=/bin/false is not a Python .*\n", err)


def test_no_network_is_one_line(checkout: Path) -> None:
    pin = f"orjson==3.13.0 --hash=sha256:{'0' * 64}\n"
    (checkout / "requirements/headrace.txt").write_text(pin)
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": ""}
    code, out, err = run(checkout, "demo", **unreachable, PIP_NO_CACHE_DIR="1")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("headrace: cannot fetch the Python packages: no network")


def test_missing_ensurepip_has_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = "The virtual environment was not created successfully because ensurepip is not available"
    failed = subprocess.CompletedProcess([], 1, stdout=said, stderr="")
    monkeypatch.setattr(environment.subprocess, "run", lambda *_a, **_k: failed)
    assert environment.main([str(tmp_path / "venv"), "headrace", "sum"]) == 1
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"apt install python{version}-venv" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_are_pinned_and_hashed_and_name_no_host(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    for pin in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[\w.-]+==[\w.]+ ", pin), pin
        assert "--hash=sha256:" in pin


def test_the_checks_run_on_what_users_run() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / f"requirements/{name}.txt").read_text()
        return set(re.findall(r"^\S+==\S+", text, re.MULTILINE))

    assert pins("headrace") < pins("develop")


@pytest.mark.parametrize("name", ["worker", "rebuild", "replay"])
def test_commands_of_faust_are_faust_s_for_this_application(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _path, command: begun.append(command))
    main([name, "--first", "second"])
    assert begun == [
        [sys.executable, "-m", "faust", "-A", "app", name, "--first", "second"],
    ]

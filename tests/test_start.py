"""What users get wrong in their own files is answered with one line, by the `faust` command too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FAUST = Path(sys.executable).with_name("faust")

MISTAKES = {
    "syntax": ("def x(:\n", "agents/mine.py:1: invalid syntax"),
    "duration": (
        'from app import tumbling\ntumbling("10 secs")\n',
        "agents/mine.py:2: ValueError: '10 secs'",
    ),
    "import": ("from app import nothing\n", "agents/mine.py:1: ImportError"),
    "no coroutine": (
        "from app import app\nfrom app.events.order_placed import OrderPlaced\n\n"
        "@app.agent(OrderPlaced)\ndef mine(orders):\n    pass\n",
        "must be an `async def`",
    ),
    "no type": (
        "from app import app\n\n@app.agent\nasync def mine(orders):\n    pass\n",
        "agents/mine.py:3: TypeError: agent 'mine' has no event type: write @app.agent(EventType)",
    ),
    "a table's name": (
        "from app import Table, count\nfrom app.events.order_placed import OrderPlaced\n\n"
        'mine = Table("revenue_per_minute", source=OrderPlaced, by="country", columns={"n": count()})\n',
        "two tables are named 'revenue_per_minute'; give one of them another name",
    ),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The users' part of a checkout, to be spoiled."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("app", "tables"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "agents").mkdir()
    (folder / "agents" / "__init__.py").touch()
    return folder


def run_in(checkout: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command there, to its end."""
    return subprocess.run(
        command,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("code", "said"), MISTAKES.values(), ids=MISTAKES)
def test_one_line(checkout: Path, code: str, said: str) -> None:
    (checkout / "agents" / "mine.py").write_text(code)
    done = run_in(checkout, FAUST, "-A", "app", "worker")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("headrace: ")
    assert said in lines[0]


def test_a_table_that_an_agent_imports_is_there_once(checkout: Path) -> None:
    (checkout / "agents" / "mine.py").write_text(
        "from tables.revenue_per_minute import revenue_per_minute\n"
    )
    count = "from app import app; print(*sorted(table.name for table in app.columnar_tables))"
    done = run_in(checkout, sys.executable, "-c", count)
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert "revenue_per_minute" in names
    assert len(names) == len(set(names))


def test_the_agents_are_listed() -> None:
    done = subprocess.run(
        [FAUST, "-A", "app", "agents"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "flag_large_orders" in line]
    assert "order.placed on orders" in line
    assert "over a thousand" in line
    assert "headrace.engine" not in done.stdout


def test_the_help_of_rebuild_teaches() -> None:
    done = subprocess.run(
        [FAUST, "-A", "app", "rebuild", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Stop all workers first" in done.stdout
    assert "faust -A app rebuild revenue_per_minute --from 2024-05-31T12:00" in done.stdout


def test_help_for_a_worker_says_what_it_is_before_what_faust_says() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "app.cli", "worker", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    ours, options = said.split("Usage:")
    assert all(f"HEADRACE_{name}=" in ours for name in ("BROKER", "WORKER_ID"))
    assert "--web-port" in options

"""Our lines and other people's, for people and for machines, and Faust does not interfere."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from app.monitoring.logs import configure_logging
from app.settings import ROOT, Settings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restore_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_machines_get_one_object_a_line() -> None:
    stream = io.StringIO()
    configure_logging(Settings(), stream)
    structlog.get_logger("shop").info("restored", records=4, note="two\nlines")
    logging.getLogger("someone").warning("low on %s", "disk", extra={"free_mb": 3})
    first, second = lines(stream)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "restored",
        "records": 4,
        "note": "two\nlines",
        "level": "info",
        "logger": "shop",
    }
    assert (second["event"], second["level"], second["free_mb"]) == ("low on disk", "warning", 3)


def test_people_get_colours_on_a_terminal() -> None:
    stream = Terminal()
    configure_logging(Settings(), stream)
    structlog.get_logger("shop").info("restored", records=4)
    assert "\x1b[" in stream.getvalue()
    assert "restored" in stream.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_console_without_colours(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if terminal:
        monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal() if terminal else io.StringIO()
    configure_logging(Settings(log_format="console"), stream)
    structlog.get_logger("shop").info("restored", records=4)
    logging.getLogger("faust").warning("a longer message from a library")
    assert "\x1b[" not in stream.getvalue()
    first, second = stream.getvalue().splitlines()
    assert first[9:].startswith("[info     ] restored ")
    assert first.endswith("[shop] records=4")
    assert second[9:] == "[warning  ] a longer message from a library [faust]"


def test_json_on_a_terminal_when_asked_for() -> None:
    stream = Terminal()
    configure_logging(Settings(log_format="json"), stream)
    structlog.get_logger("shop").info("restored")
    assert lines(stream)[0]["event"] == "restored"


def test_errors_have_their_traceback() -> None:
    stream = io.StringIO()
    configure_logging(Settings(), stream)
    try:
        raise ValueError("no good")
    except ValueError:
        structlog.get_logger("shop").exception("failed")
        logging.getLogger("faust").exception("also failed")
    for line in lines(stream):
        assert line["exception"].startswith("Traceback")
        assert line["exception"].endswith("ValueError: no good")


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["ours.debug", "ours.info", "faust.info", "faust.error"]),
        ("info", ["ours.info", "faust.error"]),
        ("error", ["faust.error"]),
    ],
)
def test_levels(level: str, heard: list[str]) -> None:
    stream = io.StringIO()
    configure_logging(Settings(log_level=level), stream)  # type: ignore[arg-type]
    log, faust = structlog.get_logger("ours"), logging.getLogger("faust.app")
    log.debug("ours.debug")
    log.info("ours.info")
    faust.debug("faust.debug")
    faust.info("faust.info")
    faust.error("faust.error")
    assert [line["event"] for line in lines(stream)] == heard


def test_services_do_not_chat() -> None:
    stream = io.StringIO()
    configure_logging(Settings(), stream)
    logging.getLogger("app.worker").info("[^-App]: Starting...")
    logging.getLogger("app.worker").warning("[^-App]: Trouble")
    assert [line["event"] for line in lines(stream)] == ["[^-App]: Trouble"]


def test_warnings_are_logged() -> None:
    stream = io.StringIO()
    configure_logging(Settings(), stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old ways", stacklevel=1)
    assert "old ways" in lines(stream)[0]["event"]


WORKER = """
import os, signal
import faust, structlog
from mode import Service
from app.monitoring.faust_worker import Worker
from app.monitoring.logs import configure_logging
from app.settings import load_settings

class App(faust.App):
    def on_init_dependencies(self):
        return []
    async def on_start(self):
        structlog.get_logger("shop").info("from.inside")
        print("printed")
    async def on_started(self):
        await super().on_started()
        os.kill(os.getpid(), signal.SIGINT)

configure_logging(load_settings())
app = App("logs", Worker=Worker, web_enabled=False, datadir=os.environ["DATADIR"])
app.main()
"""


def test_faust_worker_keeps_our_logs(tmp_path: Any) -> None:
    arguments = ["worker", "--without-web", "-l", "error"]
    command = [sys.executable, "-c", WORKER, *arguments]
    environment = {**os.environ, "DATADIR": str(tmp_path)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stderr.startswith("{"), done.stderr
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events == ["worker.starting", "from.inside", "worker.ready"]
    assert done.stdout == "printed\n"

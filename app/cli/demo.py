"""`./run demo`: a broker, a worker, the shop's events and the page, live; then the reckoning."""

from __future__ import annotations

import argparse
import fcntl
import logging
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import structlog
from confluent_kafka import KafkaException

from app.engine.language.table_checks import TableDefinitionError
from app.events.event import EventDefinitionError
from app.kafka.embedded.broker import BrokerError, ensure_broker
from app.kafka.topics import TopicError
from app.settings import Settings, SettingsError, load_settings
from app.shop.__main__ import rate, seconds
from app.shop.audit import Finding, audit_counts
from app.shop.child import Child, ChildError
from app.shop.kept_rows import PageError, ready
from app.shop.live_line import INTERVAL_S, LiveLine
from app.shop.outputs import Outputs
from app.shop.progress import Progress
from app.shop.scene import Scene, set_up
from app.shop.totals import TotalsError, read_totals
from app.shop.verdict import judge, unchecked

WORKER_READY = re.compile(r"worker\.ready .*\bweb=(http://\S+)")
BROKER_ANSWER_S_MAX = 10.0
WORKER_START_S_MAX = 90.0
STANDSTILL_S_MAX = 60.0
"""Lag that does not shrink for this long is given up on."""
AGREE_S_MAX = 20.0
"""How long the page and the outputs may take to show what has been committed."""
DIFFERENCES_SHOWN_MAX = 30


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and what to do."""


def main(arguments: list[str]) -> int:
    """Run the demo; 0 when all is well, 1 when something failed or differs, 130 when cut short."""
    options = _parser().parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        return _Demo(options, load_settings()).run()
    except KeyboardInterrupt:
        _say("demo: stopped")
        return 0 if options.seconds is None else 130
    except KafkaException as error:
        reason = f"Kafka: {error.args[0].str()}"
    except (
        BrokerError,
        ChildError,
        DemoError,
        EventDefinitionError,
        PageError,
        SettingsError,
        TableDefinitionError,
        TopicError,
        TotalsError,
    ) as error:
        reason = str(error)
    sys.stderr.write(f"headrace: {reason}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run demo",
        description="The whole of Headrace live: an embedded Kafka (or the one that HEADRACE_BROKER "
        "names), a worker, the events of an online shop, and the page of its tables. Ctrl-C stops "
        "all of it. Each run is a new application that begins with its own events.",
    )
    parser.add_argument(
        "--rate", type=rate, default=20_000.0, help="events a second, or max (default: 20000)"
    )
    parser.add_argument(
        "--seconds", type=seconds, help="send for so long, then check every table and end"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the traffic (default: 0)")
    return parser


class _Demo:
    """One run, from the broker's start to the end of the last process."""

    def __init__(self, options: argparse.Namespace, settings: Settings) -> None:
        self._options = options
        self._settings = settings
        self._root = settings.data_dir / "demo"
        self._app_id = time.strftime("demo-%Y%m%d-%H%M%S")
        self._folder = self._root / self._app_id

    def run(self) -> int:
        """Run it; the exit code. Everything that was started is ended in any case."""
        with ExitStack() as stack:
            stack.enter_context(_only_demo(self._root))
            servers = self._settings.broker
            if servers:
                _reach(servers)
            else:
                broker = stack.enter_context(ensure_broker(self._root, log=_say))
                servers = broker.bootstrap_servers
            for folder in self._root.glob("demo-*"):  # of demos that were killed or went wrong
                _clear(Progress(servers, folder.name), folder)
            self._folder.mkdir()
            progress = Progress(servers, self._app_id)
            try:
                code = self._play(servers, progress)
            except KeyboardInterrupt:
                _clear(progress, self._folder)
                raise
            if code == 0:
                _clear(progress, self._folder)
            return code

    def _play(self, servers: str, progress: Progress) -> int:
        """Set up, start the worker, let the shop run."""
        scene = set_up(self._settings, servers, self._app_id, progress)
        outputs = scene.read_outputs(keep=self._options.seconds is not None)
        with closing(outputs), self._start_worker(servers) as worker:
            address = self._wait_until_ready(worker)
            self._introduce(scene, address)
            return self._show(scene, progress, outputs, worker, address)

    def _start_worker(self, servers: str) -> Child:
        return Child(
            "worker",
            [sys.executable, "-m", "faust", "-A", "app", "worker"],
            {
                "HEADRACE_BROKER": servers,
                "HEADRACE_APP_ID": self._app_id,
                "HEADRACE_DATA_DIR": str(self._folder),
                "HEADRACE_WEB_ENABLED": "true",
                "HEADRACE_LOG_FORMAT": "console",
                "HEADRACE_LOG_LEVEL": "info",
            },
            self._folder / "worker.log",
        )

    def _start_shop(self, servers: str) -> Child:
        options = self._options
        command = [sys.executable, "-m", "app.shop", "--name", self._app_id]
        command += ["--rate", "max" if options.rate is None else str(options.rate)]
        command += ["--seed", str(options.seed)]
        if options.seconds is not None:
            command += ["--seconds", str(options.seconds), "--totals", str(self._totals_path)]
        environment = {"HEADRACE_BROKER": servers}
        return Child("load generator", command, environment, self._folder / "shop.log")

    @property
    def _totals_path(self) -> Path:
        return self._folder / "totals.jsonl"

    def _wait_until_ready(self, worker: Child) -> str:
        """The address of the worker's pages, as it says itself: a taken port is stepped around."""
        deadline = time.monotonic() + WORKER_START_S_MAX
        while True:
            worker.check()
            said = WORKER_READY.search(worker.log_path.read_text(errors="replace"))
            if said is not None and ready(said[1]):
                return said[1]
            if time.monotonic() > deadline:
                raise DemoError(
                    f"the worker was not ready within {WORKER_START_S_MAX:.0f} s; its log: "
                    f"{worker.log_path}"
                )
            time.sleep(0.1)

    def _introduce(self, scene: Scene, address: str) -> None:
        _say(f"tables:  {address}/")
        _say(
            f"broker:  {scene.servers}   application: {self._app_id}   log: {self._folder}/worker.log"
        )
        if self._settings.broker:
            topics = sorted({topic for topic, _ in scene.sources} | set(scene.derived))
            _say(f"this demo writes to these topics of your cluster: {', '.join(topics)}")
        if self._options.seconds is None:
            _say("Ctrl-C stops everything")

    def _show(
        self, scene: Scene, progress: Progress, outputs: Outputs, worker: Child, address: str
    ) -> int:
        """Let the shop run, showing how it goes; with --seconds, check everything at the end."""
        line = LiveLine(scene, progress, outputs)
        with line, self._start_shop(scene.servers) as shop:
            while shop.running():
                worker.check()
                _check_outputs(outputs)
                line.update()
                time.sleep(INTERVAL_S)
            if self._options.seconds is None:
                raise DemoError(f"the load generator has ended by itself; see {shop.log_path}")
            self._wait_for_lag(line, outputs, worker)
        return self._reckon(scene, line, outputs, worker, address)

    def _wait_for_lag(self, line: LiveLine, outputs: Outputs, worker: Child) -> None:
        lag, since = line.update(), time.monotonic()
        while lag:
            time.sleep(INTERVAL_S)
            worker.check()
            _check_outputs(outputs)
            now = line.update()
            if now != lag:
                lag, since = now, time.monotonic()
            elif time.monotonic() - since > STANDSTILL_S_MAX:
                raise DemoError(
                    f"the lag stands at {lag:,} for {STANDSTILL_S_MAX:.0f} s; the worker's log: "
                    f"{worker.log_path}"
                )

    def _reckon(
        self, scene: Scene, line: LiveLine, outputs: Outputs, worker: Child, address: str
    ) -> int:
        """Compare everything with the shop's totals, and say the last line."""
        windows, summary = read_totals(self._totals_path)
        sent = {"events": sum(summary.sent.values())}
        deadline = time.monotonic() + AGREE_S_MAX
        while True:
            worker.check()
            _check_outputs(outputs)
            finding: Finding = judge(scene, address, outputs, windows, summary)
            finding.add(audit_counts("number of", sent, {"events": line.events_in}))
            if not finding.differences or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        for table in unchecked(scene):
            _say(f"demo: table {table} is not checked: the shop has no totals for it")
        for difference in finding.shown(DIFFERENCES_SHOWN_MAX):
            _say(f"demo: {difference}")
        tail = f", {len(finding.differences)} differences" if finding.differences else ""
        _say(
            f"demo: {line.events_in} events in, {outputs.derived.total()} derived events out, "
            f"{outputs.late.total()} late, {outputs.dead} dead-lettered, {finding.lost} lost{tail}"
        )
        return 1 if finding.differences else 0


@contextmanager
def _only_demo(root: Path) -> Iterator[None]:
    """Hold the lock of the demos in this data directory. DemoError: one is running."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / "lock").open("a")
    except OSError as error:
        raise DemoError(
            f"cannot write to {root}: {error.strerror}; set HEADRACE_DATA_DIR to a folder of yours"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                "another demo is running here; stop it, or give this one its own HEADRACE_DATA_DIR"
            ) from None
        yield


def _clear(progress: Progress, folder: Path) -> None:
    """Remove what a demo leaves: its internal topics, its group, its folder."""
    with suppress(KafkaException):
        progress.forget()
    shutil.rmtree(folder, ignore_errors=True)


def _reach(servers: str) -> None:
    """DemoError: the user's own cluster does not answer."""
    try:
        Progress(servers, "").reach(BROKER_ANSWER_S_MAX)
    except KafkaException as error:
        raise DemoError(
            f"no answer from Kafka at {servers}: {error.args[0].str()}; is HEADRACE_BROKER right?"
        ) from error


def _check_outputs(outputs: Outputs) -> None:
    if outputs.error is not None:
        raise DemoError(f"the derived events cannot be read: {outputs.error}")


def _interrupt(_number: int, _frame: Any) -> NoReturn:
    """Stop, once: what is being stopped already is not disturbed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

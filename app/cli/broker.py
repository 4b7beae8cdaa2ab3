"""`./run broker`: start, stop or ask the embedded Kafka broker of this checkout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app.kafka.embedded.broker import BrokerError, broker_status, ensure_broker, stop_broker
from app.settings import SettingsError, load_settings


def main(arguments: list[str]) -> int:
    """Do what is asked; return 0, or 1 when it failed or no broker runs."""
    parser = argparse.ArgumentParser(
        prog="./run broker",
        description="The embedded Kafka broker: a single node on loopback, not for production. "
        "Workers and the demo start it by themselves and the last of them stops it; one that is "
        "started here stays until it is stopped.",
    )
    parser.add_argument("action", choices=("start", "stop", "status"), nargs="?", default="status")
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="the data directory whose broker is meant (default: HEADRACE_DATA_DIR or .headrace)",
    )
    options = parser.parse_args(arguments)
    try:
        data_dir = options.data_dir or load_settings().data_dir
        return {"start": _start, "stop": _stop, "status": _status}[options.action](data_dir)
    except (BrokerError, SettingsError) as error:
        sys.stderr.write(f"headrace: {error}\n")
        return 1


def _start(data_dir: Path) -> int:
    broker = ensure_broker(data_dir)
    broker.keep()
    broker.close()
    return _status(data_dir)


def _stop(data_dir: Path) -> int:
    _say("stopped" if stop_broker(data_dir) else "no broker was running")
    return 0


def _status(data_dir: Path) -> int:
    status = broker_status(data_dir)
    if not status.running:
        _say("no broker is running")
        return 1
    state = "answers" if status.answers else "does not answer yet"
    _say(f"{status.bootstrap_servers} {state} (process {status.pid}, log in {status.log_path})")
    return 0 if status.answers else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")

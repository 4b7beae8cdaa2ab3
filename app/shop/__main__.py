"""`python -m app.shop`: the shop's load generator as a process of its own."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SLICE_MS = 100
SLICE_EVENTS_AT_MAX = 20_000
BEHIND_S_MAX = 5.0
"""A generator that is further behind its rate leaves out what it has missed."""
PARTITIONS_TIMEOUT_S = 10


def main(arguments: list[str]) -> int:
    """Send events until the time is up or a signal comes; 1 when some could not be delivered."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stop.append(number))
    from app.shop.sender import SendError

    try:
        _run(options, lambda: bool(stop))
    except SendError as error:
        sys.stderr.write(f"shop: {error}\n")
        return 1
    return 0


def rate(text: str) -> float | None:
    """Events a second; None: as many as possible."""
    if text == "max":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 10_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 1 to 10000000 nor max")
    return value


def seconds(text: str) -> float:
    """A time span."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 10_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app.shop",
        description="Send the events of an online shop to Kafka, as CloudEvents in binary mode: a "
        "few of them out of order, late or broken, as in real life. The topics must exist.",
    )
    add = parser.add_argument
    add("--broker", default=os.environ.get("HEADRACE_BROKER"), help="default: HEADRACE_BROKER")
    add("--rate", type=rate, default=20_000.0, help="events a second, or max (default: 20000)")
    add("--seconds", type=seconds, help="stop after so many; without it: on SIGTERM or SIGINT")
    add("--seed", type=int, default=0, help="equal seeds give equal events (default: 0)")
    add("--name", default="shop", help="begins the events' ids, so give each run its own")
    add("--totals", type=Path, help="write the exact totals to this file, one JSON object a line")
    return parser


def _run(options: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    from app.shop.generator import Generator
    from app.shop.sender import Sender
    from app.shop.totals import TotalsWriter

    if not options.broker:
        sys.exit("shop: say which Kafka to send to, with --broker host:port or HEADRACE_BROKER")
    counts = _partition_counts(options.broker)
    sender = Sender(options.broker, options.name)
    if options.totals is None:
        _pace(Generator(options.seed, counts, sender.send, None), options, stopped)
        sender.finish()
        return
    with options.totals.open("w") as file:
        writer = TotalsWriter(file)
        generator = Generator(options.seed, counts, sender.send, writer.window)
        _pace(generator, options, stopped)
        sender.finish()
        writer.summary(generator.summary())


def _pace(generator: Any, options: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    """Run slices until the time is up. Event time is the wall clock's."""
    started = time.monotonic()
    until = None if options.seconds is None else started + options.seconds
    offset = time.time() - started
    begin = started
    owed = 0.0
    half_s = SLICE_MS / 2000  # sums of fractions: no slice more for the last digit
    while not stopped() and (until is None or begin + half_s < until):
        if options.rate is None:
            end, count = max(time.monotonic(), begin + 0.001), SLICE_EVENTS_AT_MAX
        else:
            begin = max(begin, time.monotonic() - BEHIND_S_MAX)
            end = begin + SLICE_MS / 1000
            owed += options.rate * SLICE_MS / 1000
            count = int(owed)
            owed -= count
            time.sleep(max(0.0, end - time.monotonic()))
        generator.run_slice(int((begin + offset) * 1000), int((end + offset) * 1000), count)
        begin = end


def _partition_counts(bootstrap_servers: str) -> dict[str, int]:
    """Of each topic that the shop writes to. Ends the program when one is missing."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from app.events.event import event_type
    from app.shop.traffic import SOURCES

    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        topics = admin.list_topics(timeout=PARTITIONS_TIMEOUT_S).topics
    except KafkaException as error:
        sys.exit(f"shop: no answer from Kafka at {bootstrap_servers}: {error.args[0].str()}")
    wanted = dict.fromkeys(event_type(cls).topic for cls in SOURCES)
    missing = [topic for topic in wanted if topic not in topics]
    if missing:
        sys.exit(
            f"shop: there is no topic {', '.join(missing)}; the worker makes it, start it first"
        )
    return {topic: len(topics[topic].partitions) for topic in wanted}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

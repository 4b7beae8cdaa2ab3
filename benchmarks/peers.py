"""Runs a peer over the same topic, as a process of its own."""

from __future__ import annotations

from typing import Any

from benchmarks.workbench import Workbench

SILENCE_S_MAX = 120.0

STOCK_FAUST = (
    *("-m", "faust", "--quiet", "-L", "uvloop", "-A", "benchmarks.stock_faust"),
    *("worker", "--without-web", "-l", "error"),
)
QUIX = ("-m", "benchmarks.quix")


def run_peer(
    bench: Workbench, name: str, arguments: tuple[str, ...], events: int
) -> dict[str, Any]:
    """What the peer reports of itself: events, seconds, events_per_second, peak_memory_mb, ..."""
    topic = bench.events_topic()
    wanted = min(events, bench.workload.events)
    found: dict[str, Any] = {}
    with (
        bench.step(name.replace("_", " "), wanted) as step,
        bench.child(name, arguments, BENCH_TOPIC=topic, BENCH_EVENTS=str(wanted)) as peer,
    ):
        for report in peer.reports(SILENCE_S_MAX):
            if "done" in report:
                step.at(report["done"])
            else:
                found = report
    if found.get("events") != wanted:
        raise RuntimeError(f"{name} was to report on {wanted} events, but said: {found}")
    return found

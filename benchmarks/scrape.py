"""What a worker's own metrics say, read once when its job is done."""

from __future__ import annotations

import socket
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 10.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scrape(port: int) -> dict[str, Any]:
    """The worker's committed checkpoints and their mean time, and the events left to msgspec."""
    return facts(_text(port))


def sums(port: int) -> dict[str, float]:
    """Each metric of the worker, summed over its labels."""
    return _sums(_text(port))


def values(port: int, metric: str) -> list[float]:
    """A metric of the worker, for each of its labels."""
    return [
        sample.value
        for family in text_string_to_metric_families(_text(port))
        for sample in family.samples
        if sample.name == metric
    ]


def facts(text: str) -> dict[str, Any]:
    """The figures that the results keep, from Prometheus' text."""
    found = _sums(text)
    timed = found["headrace_checkpoint_seconds_count"]
    return {
        "checkpoints": int(found["headrace_checkpoints_total"]),
        "checkpoint_ms_mean": 1000 * found["headrace_checkpoint_seconds_sum"] / max(1.0, timed),
        "fallback_events": int(found.get("headrace_decode_fallback_events_total", 0)),
    }


def _text(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S) as answer:
        return str(answer.read().decode())


def _sums(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("outcome", "committed") == "committed":
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found

"""The catalogue of metrics: everything that `/metrics` shows, and what it means.

To emit one, call its object: `EVENTS.add(count, topic=topic, partition=partition)`, once per batch.
To add one, define it here; it is rendered and documented from then on.
`python -m app.monitoring.metrics` prints `docs/metrics.md`.
"""

from __future__ import annotations

import platform
import sys
import tomllib
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from app.monitoring.metric_kinds import Counter, Gauge, Histogram, Label, Metric
from app.monitoring.reason_class import REASON_CLASSES
from app.settings import ROOT

__all__ = ["CATALOGUE", "CONTENT_TYPE", "REGISTRY", "announce_build", "document", "render"]

PARTITION = Label("partition")
REASON = Label("reason", REASON_CLASSES)
TABLE = Label("table")
TOPIC = Label("topic")
TYPE = Label("type")
OUTCOME = Label("outcome", ("committed", "aborted"))

EVENTS = Counter(
    "events",
    "Events read, counted when their batch has been staged; those that are read again after an "
    "aborted checkpoint count again. Its rate is the worker's throughput.",
    unit="events",
    labels=[TOPIC, PARTITION],
)
FETCHED_BYTES = Counter(
    "fetched_bytes",
    "Bytes of record batches as the broker sent them, compressed. Rising faster than the events: "
    "events grow longer, or producers compress less.",
    unit="bytes",
    labels=[TOPIC, PARTITION],
)
BATCHES = Counter(
    "batches",
    "Fetches processed. Rising faster than the events: batches get small, and each event dearer.",
    unit="batches",
    labels=[TOPIC, PARTITION],
)
FALLBACK_EVENTS = Counter(
    "decode_fallback_events",
    "Events that the JSON kernel was not sure of and left to msgspec, which is slower. "
    "A high share: look for escapes, nesting or fields in changing order.",
    unit="events",
    labels=[TOPIC],
)
DERIVED_EVENTS = Counter(
    "derived_events",
    "Events that tables and agents emitted, counted when their checkpoint has committed.",
    unit="events",
    labels=[TYPE],
)
LATE_EVENTS = Counter(
    "late_events",
    "Events that came after their window had closed; they are on the table's late topic. Rising: "
    "sources are delayed, or the table's grace is too short.",
    unit="events",
    labels=[TABLE],
)
DEAD_LETTERS = Counter(
    "dead_letters",
    "Events that could not be read, or that an agent failed on; they are on the dead-letter topic. "
    "Any rise wants a look: a producer or an agent has a fault.",
    unit="events",
    labels=[TOPIC, REASON],
)
LAG = Gauge(
    "lag_events",
    "Offsets between what is committed and the end of the partition that can be read. Rising "
    "steadily: the worker is too slow, add workers. Rising on one partition only: a hot key.",
    unit="events",
    labels=[TOPIC, PARTITION],
)
WATERMARK_DELAY = Gauge(
    "watermark_delay_seconds",
    "Wall clock less the watermark of a table's partition: how late its windows close. Rising "
    "without lag: a source partition holds the watermark back.",
    unit="seconds",
    labels=[TABLE, PARTITION],
)
FETCH_BUFFER_BYTES = Gauge(
    "fetch_buffer_bytes",
    "Bytes fetched and not yet processed. At HEADRACE_FETCH_BUFFER_MB, or at 64 fetches, however small: "
    "reading is paused, because agents, tables or checkpoints do not keep up.",
    unit="bytes",
)
CHECKPOINTS = Counter(
    "checkpoints",
    "Checkpoints tried. Aborted ones are done again; many: read the log for the reason. Committed "
    "ones standing still while there is lag: nothing is published.",
    unit="checkpoints",
    labels=[OUTCOME],
)
CHECKPOINT_SECONDS = Histogram(
    "checkpoint_seconds",
    "From freezing to the write of RocksDB, of committed checkpoints. Above "
    "HEADRACE_CHECKPOINT_INTERVAL_MS: the interval cannot be kept; Kafka or the disk is slow.",
    unit="seconds",
    bounds=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
CHECKPOINT_BYTES = Counter(
    "checkpoint_bytes",
    "Bytes of segments that committed checkpoints wrote to RocksDB and to the changelog.",
    unit="bytes",
)
STATE_BYTES = Gauge(
    "state_bytes",
    "Bytes of all tables' state on this worker, as RocksDB estimates them. Rising for ever: windows "
    "do not close (see the watermark delay), or there are ever more keys.",
    unit="bytes",
)
STATE_SEGMENTS = Gauge(
    "state_segments",
    "Segments of a table on this worker. Many per window make reads of the table slow.",
    unit="segments",
    labels=[TABLE],
)
RESTORE_SECONDS = Counter(
    "restore_seconds",
    "Time spent on restoring tables after a start or a rebalance; the partitions that are there go on meanwhile.",
    unit="seconds",
)
RESTORE_RECORDS = Counter(
    "restore_records",
    "Changelog records replayed. Many after a plain restart: the data directory was lost.",
    unit="records",
)
RESTORE_LEFT = Gauge(
    "restore_left_offsets",
    "Changelog offsets that are still to be replayed before the table is there; none once all "
    "tables are restored. Standing still: the changelog's partition has no leader, or a "
    "transaction on it is open.",
    unit="offsets",
    labels=[TABLE],
)
RESTORE_LEFT_SECONDS = Gauge(
    "restore_left_seconds",
    "When all tables will be restored, by the rate of the last ten seconds; 0: they are, or it is "
    "not known yet.",
    unit="seconds",
)
STANDBY_LAG = Gauge(
    "standby_lag_offsets",
    "Changelog offsets that a copy of another worker's table partition is behind. Rising steadily: "
    "the worker is too busy, or its disk too slow, to keep it up, and a take-over will take longer.",
    unit="offsets",
    labels=[TABLE, PARTITION],
)
REBALANCES = Counter(
    "rebalances",
    "Times that partitions were assigned. Rising without workers coming or going: heartbeats are "
    "late (HEADRACE_SESSION_TIMEOUT_MS), or workers crash.",
    unit="rebalances",
)
BUILD = Gauge(
    "build_info",
    "Always 1; the labels say what is running.",
    unit="",
    labels=[Label("version"), Label("python")],
)

CATALOGUE: dict[str, Metric[Any]] = {
    item.name: item for item in list(globals().values()) if isinstance(item, Metric)
}
REGISTRY = CollectorRegistry()
for _metric in CATALOGUE.values():
    REGISTRY.register(_metric.collector)
ProcessCollector(registry=REGISTRY)


def render(registry: CollectorRegistry = REGISTRY) -> bytes:
    """All metrics in Prometheus' text format; serve it with `CONTENT_TYPE`."""
    return generate_latest(registry)


def announce_build() -> None:
    """Set `BUILD` to the version in pyproject.toml and the Python that runs; once, at start."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    BUILD.set(1, version=project["version"], python=platform.python_version())


def document() -> str:
    """The text of `docs/metrics.md`."""
    rows = []
    for name, metric in CATALOGUE.items():
        labels = ", ".join(_label(label) for label in metric.labels)
        rows.append(
            f"| `{name}` | {metric.kind} | {metric.unit} | {labels} | {metric.description} |"
        )
    return "\n".join([_INTRODUCTION, *rows, ""])


def _label(label: Label) -> str:
    choices = ", ".join(f"`{choice}`" for choice in label.choices)
    return f"{label.name} ({choices})" if choices else label.name


_INTRODUCTION = """\
# Metrics

Each worker serves these at `/metrics` in Prometheus' text format, with memory, CPU and open files
of the process as Prometheus' own libraries name them (`process_resident_memory_bytes`,
`process_cpu_seconds_total`, ...). They are counted per batch and checkpoint, never per event.

| metric | kind | unit | labels | what it means |
|-|-|-|-|-|"""


if __name__ == "__main__":
    sys.stdout.write(document())

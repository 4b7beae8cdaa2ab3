"""The HTML report: one file without scripts or other files, for light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.figures import FIGURES
from benchmarks.plots import Bar, histogram, lines, log_bars, short
from benchmarks.targets import Verdict

CSS_PATH = Path(__file__).parent / "report.css"
RATE_STEP_S = 0.25
NAMES = {"main_job": "Headrace", "quix": "Quix Streams", "stock_faust": "stock Faust"}
"""Of those that do the same job."""
TITLES = {
    "high_cardinality": "Many keys",
    "unwindowed": "A table without windows",
    "point_reads": "Reads of single keys",
    "restore": "Restore",
    "failover": "A worker that is killed, one that joins and leaves",
    "scale_out": "Two workers against one",
}
"""Of those that have a table of their figures and nothing else."""


def render(results: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The whole page. Parts whose benchmark did not run are left out."""
    body = "".join(_parts(results, verdicts))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Headrace benchmarks</title><style>{CSS_PATH.read_text()}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def number(value: float | None) -> str:
    """A figure for people: no more digits than it deserves."""
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def _parts(results: Mapping[str, Any], verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield f"<h1>Headrace benchmarks</h1><p>{escape(results['datetime'][:19])} UTC, "
    yield f"scale {escape(results['scale'])}, commit {escape(str(results['commit'])[:10])}</p>"
    yield _verdict(results, verdicts)
    yield "<h2>Targets</h2>" + _targets(verdicts)
    yield from _throughput(results)
    yield from _main_job(results, verdicts)
    yield from _latency(results, verdicts)
    for name, title in TITLES.items():
        if name in results:
            yield f"<h2>{title}</h2><p><code>{name}</code></p>" + _figures(results[name])
    yield "<h2>Machine and versions</h2>" + _facts(
        {**results["machine"], **results["versions"], **results["settings"]}
    )


def _verdict(results: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    missed = [verdict.target.name for verdict in verdicts if verdict.met is False]
    correct = results["correct"]
    words = "correct: equal to the one-shot answer" if correct else "NOT shown to be correct"
    kind = "met" if correct else "missed"
    text = f'<p class="verdict"><span class="{kind}">The results are {words}.</span> '
    if missed:
        text += f'<span class="missed">Missed: {escape(", ".join(missed))}.</span>'
    else:
        text += '<span class="met">No measured target is missed.</span>'
    faults = [
        fault
        for many in results["rounds"].values()
        for found in many
        for fault in found.get("differences", [])
    ]
    return text + "</p>" + "".join(f"<p>{escape(fault)}</p>" for fault in faults)


def _targets(verdicts: Sequence[Verdict]) -> str:
    words = {True: "met", False: "missed", None: ""}
    rows = [
        (
            verdict.target.name,
            ("at least " if verdict.target.at_least else "at most ") + number(verdict.target.limit),
            number(verdict.value),
            f'<span class="{words[verdict.met]}">{words[verdict.met]}</span>',
        )
        for verdict in verdicts
    ]
    return _table(("figure", "target", "measured", ""), rows)


def _throughput(results: Mapping[str, Any]) -> Iterator[str]:
    found = [name for name in NAMES if name in results]
    if not found:
        return
    bars = [
        Bar(
            NAMES[name],
            results[name]["events_per_second"],
            number(results[name]["events_per_second"]) + " events/s",
            ours=name == "main_job",
        )
        for name in found
    ]
    yield "<h2>The same job on the same topic</h2><p>Events a second, one process, log scale. "
    yield "Count, sum and maximum per user and 10 s window.</p>" + log_bars(bars, "events a second")
    columns = ("events", "seconds", "events_per_second", "cpu_seconds", "peak_memory_mb")
    head = ("", "events", "s", "events/s", "CPU s", "peak MB")
    yield _table(
        head,
        [(NAMES[name], *(number(results[name][column]) for column in columns)) for name in found],
    )


def _main_job(results: Mapping[str, Any], verdicts: Sequence[Verdict]) -> Iterator[str]:
    rounds = results["rounds"].get("main_job", [])
    if not rounds:
        return
    rates = [(f"round {found['round']}", rate_points(found["series"])) for found in rounds]
    memory = [
        (f"round {found['round']}", [(time_s, mb) for time_s, _, mb in found["series"]])
        for found in rounds
    ]
    job = results["main_job"]
    yield f"<p>Headrace made {number(job['checkpoints'])} transactions of "
    yield f"{number(job['checkpoint_ms_mean'])} ms on average, emitted "
    yield f"{number(job['derived_events'])} derived events and left "
    yield f"{number(job['fallback_events'])} events to the slower JSON decoder.</p>"
    yield "<h2>Throughput over time</h2><p>Committed events, every round of the main job.</p>"
    limit = _limit(verdicts, "main_job.events_per_second")
    yield lines(rates, "throughput over time", "seconds since the first fetch", "events/s", limit)
    yield "<h2>Memory over time</h2><p>Resident memory of the worker.</p>"
    limit = _limit(verdicts, "main_job.peak_memory_mb")
    yield lines(memory, "memory over time", "seconds since the first fetch", "MB", limit)


def _latency(results: Mapping[str, Any], verdicts: Sequence[Verdict]) -> Iterator[str]:
    rounds = results["rounds"].get("latency", [])
    if not rounds:
        return
    found = rounds[-1]
    marks = [(found["p50_ms"], f"p50 {number(found['p50_ms'])} ms")]
    marks.append((found["p99_ms"], f"p99 {number(found['p99_ms'])} ms"))
    limit = _limit(verdicts, "latency.p99_ms")
    if limit is not None:
        marks.append((limit, f"p99 target {number(limit)} ms"))
    yield "<h2>Latency</h2><p>From the producer's timestamp to a read-committed consumer of a "
    yield f"pass-through derived event, at {short(found['events_per_second'])} events/s: "
    yield "distribution and its running sum.</p>"
    yield histogram(found["ages_ms"], marks, "latency distribution", "ms")


def _figures(found: Mapping[str, float]) -> str:
    """One benchmark's figures."""
    rows = [
        (FIGURES[name].label, f"{number(value)} {FIGURES[name].unit}".rstrip())
        for name, value in found.items()
    ]
    return _table(("figure", "measured"), rows)


def rate_points(series: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Events a second as stairs of RATE_STEP_S or more, from (seconds, events committed, MB)."""
    points: list[tuple[float, float]] = []
    from_s, from_events = 0.0, 0.0
    for time_s, events, _ in series:
        if time_s - from_s >= RATE_STEP_S or (time_s == series[-1][0] and time_s > from_s):
            rate = (events - from_events) / (time_s - from_s)
            points += [(from_s, rate), (time_s, rate)]
            from_s, from_events = time_s, events
    return points


def _limit(verdicts: Sequence[Verdict], name: str) -> float | None:
    return next((item.target.limit for item in verdicts if item.target.name == name), None)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def _facts(facts: Mapping[str, Any]) -> str:
    items = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>"
        for name, value in facts.items()
    )
    return f"<dl>{items}</dl>"

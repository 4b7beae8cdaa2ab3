"""Measures the main job, from a worker's first fetch to its last commit, and checks the result."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.check import differences, emitted
from benchmarks.child import ROOT, Child, ChildError, cpu_seconds
from benchmarks.events import Workload
from benchmarks.scrape import free_port, scrape
from benchmarks.stall import Stall
from benchmarks.topics import read_committed
from benchmarks.workbench import Workbench

START_S_MAX = 120.0
STALL_S_MAX = 60.0
SAMPLE_INTERVAL_S = 0.025

WORKER = ("-m", "faust", "--quiet", "-A", "benchmarks.main_job", "worker", "-l", "warn")


def run_main_job(bench: Workbench) -> dict[str, Any]:
    """Speed, memory and correctness of one run over the whole topic."""
    return _run(bench, bench.workload, "main job")


def run_former_main_job(bench: Workbench, root: Path) -> dict[str, Any]:
    """The same by another revision, whose files are below `root`."""
    return _run(bench, bench.workload, "former main job", root)


def run_high_cardinality(bench: Workbench) -> dict[str, Any]:
    """The same with many keys; and once more by a worker confined to one core (one_core_events_per_second)."""
    scale = bench.scale
    workload = Workload(scale.main_job_events, scale.many_keys)
    free = _run(bench, workload, "high cardinality")
    confined = _run(bench, workload, "high cardinality one core", BENCH_CORE="0")
    return {
        **free,
        "one_core_events_per_second": confined["events_per_second"],
        "correct": free["correct"] and confined["correct"],
        "differences": free["differences"] + confined["differences"],
        "one_core": confined,
    }


def _run(
    bench: Workbench, workload: Workload, label: str, root: Path = ROOT, **settings: str
) -> dict[str, Any]:
    """One run over the whole topic.

    The time begins when the worker has its first fetch, by its own report (CLOCK_MONOTONIC, which
    processes share), and ends when the group's committed offsets are seen at the end of every
    partition; they are asked for from outside every SAMPLE_INTERVAL_S.
    """
    bench.compile_kernels(root)
    topic = bench.events_topic(workload)
    answer = workload.totals()  # before the worker starts: it needs both cores
    port = free_port()
    settings |= {"BENCH_TOPIC": topic, "HEADRACE_WEB_PORT": str(port)}
    with bench.child(label.replace(" ", "-"), WORKER, root=root, **settings) as worker:
        group = worker.environment["HEADRACE_APP_ID"]
        facts = {**measured(bench, worker, topic, group, label), **scrape(port)}
    derived = f"{group}.totals"
    partitions = workload.partitions
    ends = bench.topics.settled_ends(derived, partitions)
    found = emitted(read_committed(bench.servers, derived, [0] * partitions, ends))
    faults = differences(answer, found)
    return {**facts, "derived_events": found.height, "correct": not faults, "differences": faults}


def measured(bench: Workbench, worker: Child, topic: str, group: str, label: str) -> dict[str, Any]:
    """Speed and memory from the worker's first fetch until the group has committed the whole topic."""
    ends = bench.topics.ends(topic, bench.workload.partitions)
    first_fetch = _first_fetch(worker)
    process = psutil.Process(worker.pid)
    cpu_before = cpu_seconds(worker.pid)
    samples: list[tuple[float, int, float]] = []
    stall = Stall(label, STALL_S_MAX)
    with bench.step(label, sum(ends)) as step:
        while True:
            committed = bench.topics.committed(group, topic, bench.workload.partitions)
            now, done = time.monotonic(), sum(committed)
            memory_mb = process.memory_info().rss / 1e6
            samples.append((round(now - first_fetch, 4), done, round(memory_mb, 1)))
            step.at(done)
            if committed == ends:
                break
            worker.check_alive()
            stall.at(done)
            time.sleep(SAMPLE_INTERVAL_S)
    seconds = samples[-1][0]
    cpu_s = cpu_seconds(worker.pid, cpu_before)
    return {
        "events": sum(ends),
        "seconds": seconds,
        "events_per_second": sum(ends) / seconds,
        "cpu_seconds": cpu_s,
        "events_per_cpu_second": sum(ends) / cpu_s,
        "peak_memory_mb": worker.peak_memory_mb(),
        "series": samples,
    }


def _first_fetch(worker: Child) -> float:
    for report in worker.reports(START_S_MAX):
        if "first_fetch" in report:
            return float(report["first_fetch"])
    raise ChildError("the main job's worker has ended before its first fetch")

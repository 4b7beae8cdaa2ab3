"""Measures what a second worker on a second core brings, with the broker on the same two cores."""

from __future__ import annotations

import os
import time
import uuid
from contextlib import ExitStack
from typing import Any

import psutil

from benchmarks.check import differences, emitted
from benchmarks.child import Child, cpu_seconds
from benchmarks.gate import closed_gate
from benchmarks.latency import SILENCE_S_MAX, await_ready
from benchmarks.main_job_run import SAMPLE_INTERVAL_S, STALL_S_MAX, WORKER
from benchmarks.scrape import free_port, values
from benchmarks.stall import Stall
from benchmarks.topics import read_committed
from benchmarks.workbench import Workbench

_SELDOM = 10
"""So many times the interval between looks, until the end is near: they too cost the workers' cores."""
_NEAR = 0.9


def run_scale_out(bench: Workbench) -> dict[str, Any]:
    """The main job by one worker and by two of a group, each on a core of its own and on events that become
    readable at one moment.

    times: the rate of two workers against that of one, as it is. times_less_broker: the same if the broker
    had not taken its share of the two cores from the two workers (half of its CPU time, as it slows both);
    one worker leaves it a core. broker_cpu_seconds, and the same as cores (broker_cores): that share, beside
    two workers.
    """
    bench.compile_kernels()
    answer = bench.workload.totals()
    one, two = (_run(bench, count) for count in (1, 2))
    faults = [
        fault for found in (one, two) for fault in differences(answer, emitted(found.pop("values")))
    ]
    return {
        "events": one["events"],
        "seconds": one["seconds"] + two["seconds"],
        "one_worker": one,
        "two_workers": two,
        "broker_cpu_seconds": two["broker_cpu_seconds"],
        "broker_cores": two["broker_cpu_seconds"] / two["seconds"],
        "times": one["seconds"] / two["seconds"],
        "times_less_broker": one["seconds"] / (two["seconds"] - two["broker_cpu_seconds"] / 2),
        "correct": not faults,
        "differences": faults,
    }


def _run(bench: Workbench, count: int) -> dict[str, Any]:
    label = f"{count} worker{'s' * (count > 1)}"
    partitions = bench.workload.partitions
    topic = f"{bench.prefix}.gated-{uuid.uuid4().hex[:6]}"
    bench.topics.create(topic, partitions)
    with closed_gate(bench.servers, topic, partitions) as gate, ExitStack() as stack:
        bench.write(topic, bench.workload)
        cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
        first = stack.enter_context(_worker(bench, topic, BENCH_CORE=cores[0]))
        await_ready(first)
        group = {name: first.environment[name] for name in ("HEADRACE_APP_ID", "HEADRACE_DATA_DIR")}
        workers = [first]
        for number in range(1, count):
            core = cores[number % len(cores)]
            workers.append(stack.enter_context(_worker(bench, topic, BENCH_CORE=core, **group)))
            await_ready(workers[-1])
        _await_shares(workers, partitions)
        broker = _broker_pid(bench.servers)
        before = cpu_seconds(broker) if broker else 0.0
        gate.abort_transaction()
        facts = _measured(bench, workers, topic, group["HEADRACE_APP_ID"], label)
        facts["broker_cpu_seconds"] = cpu_seconds(broker, before) if broker else 0.0
        derived = f"{group['HEADRACE_APP_ID']}.totals"
        ends = bench.topics.settled_ends(derived, partitions)
        values = read_committed(bench.servers, derived, [0] * partitions, ends)
    return {**facts, "values": values}


def _worker(bench: Workbench, topic: str, **settings: str) -> Child:
    port = str(free_port())
    return bench.child("scale-out", WORKER, BENCH_TOPIC=topic, HEADRACE_WEB_PORT=port, **settings)


def _await_shares(workers: list[Child], partitions: int) -> None:
    """Wait until each worker has its share: a partition moves only once its next worker can go on with it."""
    stall = Stall("the sharing out of partitions", SILENCE_S_MAX)
    while True:
        shares = [
            len(values(int(worker.environment["HEADRACE_WEB_PORT"]), "headrace_lag_events"))
            for worker in workers
        ]
        if sum(shares) == partitions and max(shares) - min(shares) <= 1:
            return
        for worker in workers:
            worker.check_alive()
        stall.at(min(shares))
        time.sleep(SAMPLE_INTERVAL_S)


def _measured(
    bench: Workbench, workers: list[Child], topic: str, group: str, label: str
) -> dict[str, Any]:
    """From now until the group has committed all events of the topic."""
    partitions = bench.workload.partitions
    events = bench.workload.events + partitions
    before = [cpu_seconds(worker.pid) for worker in workers]
    started = time.monotonic()
    stall = Stall(label, STALL_S_MAX)
    with bench.step(label, events) as step:
        while True:
            done = sum(bench.topics.committed(group, topic, partitions))
            step.at(done)
            # before the events is the gate's record of each partition; its marker behind them may stay unread
            if done >= events + partitions:
                break
            for worker in workers:
                worker.check_alive()
            stall.at(done)
            time.sleep(SAMPLE_INTERVAL_S * (1 if done > _NEAR * events else _SELDOM))
    seconds = time.monotonic() - started
    cpu = [cpu_seconds(worker.pid, began) for worker, began in zip(workers, before, strict=True)]
    return {
        "events": events,
        "seconds": seconds,
        "events_per_second": events / seconds,
        "cpu_seconds": sum(cpu),
        "cpu_seconds_each": cpu,
        "peak_memory_mb": max(worker.peak_memory_mb() for worker in workers),
    }


def _broker_pid(servers: str) -> int | None:
    """The broker's process id, if it is on this machine."""
    port = int(servers.split(",")[0].rsplit(":", 1)[1])
    for connection in psutil.net_connections("tcp"):
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr.port == port
            and connection.pid
        ):
            return connection.pid
    return None

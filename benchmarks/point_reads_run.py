"""Measures reads of single keys inside a worker that has the main job to do at half its speed."""

from __future__ import annotations

import uuid
from typing import Any

from benchmarks.child import ChildError
from benchmarks.latency import RATE_TOLERANCE, SILENCE_S_MAX, await_ready, summary
from benchmarks.latency_producer import pool_events
from benchmarks.stall import Stall
from benchmarks.workbench import Workbench

WORKER = ("-m", "faust", "--quiet", "-A", "benchmarks.point_reads", "worker", "-l", "warn")
_STAMPED_EVERY_S = 1
_LAG_S_MAX = 6
"""Of events that are not counted when the reads are done."""


def run_point_reads(bench: Workbench) -> dict[str, Any]:
    """p50 and p99 of a read in ms, while events come at `read_while_rate`; and of the part until it is begun.

    ChildError when the worker or the producer could not hold its rate.
    """
    bench.compile_kernels()
    scale, while_rate = bench.scale, bench.read_while_rate
    seconds = scale.latency_warm_up_seconds + scale.latency_seconds
    topic = f"{bench.prefix}.read-{uuid.uuid4().hex[:6]}"  # of this round alone
    bench.topics.create(topic)
    settings = {
        "BENCH_TOPIC": topic,
        "BENCH_POOL_EVENTS": str(pool_events(while_rate)),
        "BENCH_READS_PER_SECOND": str(scale.reads_per_second),
        "BENCH_WARM_UP_SECONDS": str(scale.latency_warm_up_seconds),
        "BENCH_SECONDS": str(scale.latency_seconds),
    }
    send = ["-m", "benchmarks.latency_producer", topic, str(while_rate)]
    with bench.child("point-reads", WORKER, **settings) as worker:
        await_ready(worker)
        stall, found = Stall("the reads", SILENCE_S_MAX), {}
        with (
            bench.step("point reads", scale.reads_per_second * seconds) as step,
            bench.child(
                "reads-producer",
                [*send, str(seconds + scale.read_lead_seconds), str(_STAMPED_EVERY_S)],
            ) as producer,
        ):
            for found in worker.reports(SILENCE_S_MAX):
                if "reads" not in found:
                    continue
                producer.check_alive()
                stall.at(found["reads"])
                step.at(found["reads"])
                if "ages_ms" in found:
                    break
            sent = list(producer.reports(SILENCE_S_MAX))[-1]
        lag = sum(bench.topics.ends(topic, bench.workload.partitions)) - sum(
            bench.topics.committed(
                worker.environment["HEADRACE_APP_ID"], topic, bench.workload.partitions
            )
        )
    rate = sent["events_per_second"]
    begun = summary(found["begun_ms"])
    behind = lag > rate * _LAG_S_MAX
    if rate < while_rate * (1 - RATE_TOLERANCE) or behind:
        raise ChildError(
            f"{rate:,.0f} of {while_rate:,} events/s were produced, and {lag:,} of them are not "
            "counted yet: the machine is too busy to measure reads"
        )
    return {
        "seconds": found["seconds"],
        "events_per_second": rate,
        "reads_per_second": found["reads"] / found["seconds"],
        "found": found["found"] / found["reads"],
        **summary(found["ages_ms"]),
        "begun_p50_ms": begun["p50_ms"],
        "begun_p99_ms": begun["p99_ms"],
    }

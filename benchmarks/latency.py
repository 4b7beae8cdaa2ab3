"""Measures latency: producer's timestamp to a read-committed consumer of a pass-through event."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from benchmarks.child import Child, ChildError
from benchmarks.stall import Stall
from benchmarks.workbench import Workbench

SILENCE_S_MAX = 60.0
RATE_TOLERANCE = 0.05

WORKER = ("-m", "faust", "--quiet", "-A", "benchmarks.pass_through", "worker", "-l", "warn")


def run_latency(bench: Workbench) -> dict[str, Any]:
    """p50 and p99 in ms, and the histogram, at the rate of the scale.

    All events flow through the worker, one transaction per checkpoint; the consumer looks at one in
    a hundred. What was produced in the warm-up is not counted. ChildError when events are missing
    or the producer could not hold the rate.
    """
    bench.compile_kernels()
    scale = bench.scale
    seconds = scale.latency_warm_up_seconds + scale.latency_seconds
    events = scale.latency_rate * seconds
    warm_up_events = scale.latency_rate * scale.latency_warm_up_seconds
    topic = f"{bench.prefix}.steps-{uuid.uuid4().hex[:6]}"  # of this round alone
    bench.topics.create(topic)
    with bench.child("pass-through", WORKER, BENCH_TOPIC=topic) as worker:
        await_ready(worker)
        derived = f"{worker.environment['HEADRACE_APP_ID']}.passed-on"
        listen = ["-m", "benchmarks.latency_consumer", derived, str(events), str(warm_up_events)]
        send = ["-m", "benchmarks.latency_producer", topic, str(scale.latency_rate), str(seconds)]
        with (
            bench.step("latency", events) as step,
            bench.child("latency-consumer", listen) as consumer,
        ):
            await_ready(consumer)
            with bench.child("latency-producer", send) as producer:
                stall, seen = Stall("the latency consumer", SILENCE_S_MAX), {}
                for seen in consumer.reports(SILENCE_S_MAX):
                    worker.check_alive()
                    stall.at(seen.get("done", events))
                    step.at(seen.get("done", events))
                sent = list(producer.reports(SILENCE_S_MAX))[-1]
    if sent["events_per_second"] < scale.latency_rate * (1 - RATE_TOLERANCE):
        raise ChildError(
            f"the producer reached only {sent['events_per_second']:,.0f} of "
            f"{scale.latency_rate:,} events/s: the machine is too busy to measure latency"
        )
    return {
        "events": seen["seen"],
        "seconds": sent["seconds"],
        "events_per_second": sent["events_per_second"],
        **summary(seen["ages_ms"]),
    }


def summary(ages_ms: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The percentiles of a histogram of (age in ms, how many)."""
    return {
        "samples": sum(count for _, count in ages_ms),
        "p50_ms": percentile(ages_ms, 0.50),
        "p90_ms": percentile(ages_ms, 0.90),
        "p99_ms": percentile(ages_ms, 0.99),
        "max_ms": ages_ms[-1][0],
        "ages_ms": [list(pair) for pair in ages_ms],
    }


def percentile(ages_ms: Sequence[tuple[int, int]], share: float) -> int:
    """The smallest age that at least this share of the events does not exceed."""
    wanted = share * sum(count for _, count in ages_ms)
    reached = 0
    for age_ms, count in ages_ms:
        reached += count
        if reached >= wanted:
            return age_ms
    raise ValueError("no events, no percentile")


def await_ready(child: Child) -> None:
    """Wait until a child says that it is ready."""
    for report in child.reports(SILENCE_S_MAX):
        if "ready" in report:
            return
    raise ChildError(f"{child.name} has ended before it was ready")

"""The figures that the results keep of each benchmark: what the report calls them, and their units."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """What a figure says, in the report's words."""

    label: str
    unit: str = ""


FIGURES = {
    "events": Figure("events"),
    "seconds": Figure("measured for", "s"),
    "events_per_second": Figure("throughput", "events/s"),
    "one_core_events_per_second": Figure("throughput, confined to one core", "events/s"),
    "cpu_seconds": Figure("processor time of the worker", "s"),
    "events_per_cpu_second": Figure("throughput per CPU second", "events/s"),
    "peak_memory_mb": Figure("memory at the peak", "MB"),
    "stolen_percent": Figure("of the machine's processor time, withheld by its host", "%"),
    "derived_events": Figure("derived events"),
    "rows": Figure("rows in the end"),
    "keys": Figure("keys"),
    "keys_per_second": Figure("restored", "keys/s"),
    "records": Figure("changelog records read"),
    "last_fifth_to_first": Figure(
        "rate of the last fifth of the events against the first", "times"
    ),
    "checkpoints": Figure("transactions"),
    "checkpoint_ms_mean": Figure("a transaction, on average", "ms"),
    "fallback_events": Figure("events left to the slower JSON decoder"),
    "reads_per_second": Figure("reads of single keys", "reads/s"),
    "times": Figure("two workers against one, as it is", "times"),
    "times_less_broker": Figure("the same less the broker's share of the cores", "times"),
    "broker_cpu_seconds": Figure("processor time of the broker beside two workers", "s"),
    "broker_cores": Figure("what the broker takes of the cores meanwhile", "cores"),
    "takeover_s": Figure("from the new assignment to the first commit of all partitions", "s"),
    "takeover_s_without_standby": Figure("the same without a standby", "s"),
    "noticed_s": Figure("from the kill to the new assignment", "s"),
    "kill_to_commit_s": Figure("from the kill to the first commit of all partitions", "s"),
    "stayed_stood_still_s": Figure("longest standstill of what stays, a worker is killed", "s"),
    "join_stood_still_s": Figure("the same, a worker joins", "s"),
    "leave_stood_still_s": Figure("the same, a worker leaves", "s"),
    "samples": Figure("samples"),
    "p50_ms": Figure("p50", "ms"),
    "p90_ms": Figure("p90", "ms"),
    "p99_ms": Figure("p99", "ms"),
    "max_ms": Figure("longest", "ms"),
    "begun_p50_ms": Figure("p50 of the part until it is begun", "ms"),
    "begun_p99_ms": Figure("p99 of the part until it is begun", "ms"),
}

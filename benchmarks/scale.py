"""How large each benchmark is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Events of each job, seconds of the latency run, and how often each is measured (0: not at this scale).

    read_while_rate: events a second that come while keys are read, at most: half of what the main job did, if
    it was measured in the same run. They begin before the reads do, and end after them, by read_lead_seconds in all.

    main_job_former is measured as often as the main job if there is a revision to compare with (`--against`).
    Rounds alternate (main job, peers, main job, ...), so that a ratio compares the same minutes of
    the machine.
    """

    main_job_events: int
    stock_faust_events: int
    quix_events: int
    many_keys: int
    unwindowed_events: int
    unwindowed_keys: int
    restore_events: int
    restore_keys: int
    failover_events: int
    failover_keys: int
    failover_session_ms: int
    latency_rate: int
    latency_seconds: int
    latency_warm_up_seconds: int
    reads_per_second: int
    read_while_rate: int
    read_lead_seconds: int
    rounds: dict[str, int]


SCALES = {
    "full": Scale(
        main_job_events=10_000_000,
        stock_faust_events=100_000,
        quix_events=300_000,
        many_keys=1_000_000,
        unwindowed_events=50_000_000,
        unwindowed_keys=10_000_000,
        restore_events=25_000_000,
        restore_keys=10_000_000,
        failover_events=6_000_000,
        failover_keys=2_000_000,
        failover_session_ms=6000,
        latency_rate=100_000,
        latency_seconds=30,
        latency_warm_up_seconds=5,
        reads_per_second=5_000,
        read_while_rate=1_000_000,
        read_lead_seconds=10,
        rounds={
            "main_job": 3,
            "main_job_former": 0,
            "stock_faust": 2,
            "quix": 2,
            "latency": 3,
            "high_cardinality": 1,
            "unwindowed": 1,
            "point_reads": 1,
            "scale_out": 3,
            "restore": 1,
            "failover": 1,
        },
    ),
    "quick": Scale(
        main_job_events=2_000_000,
        stock_faust_events=50_000,
        quix_events=200_000,
        many_keys=200_000,
        unwindowed_events=2_000_000,
        unwindowed_keys=400_000,
        restore_events=2_500_000,
        restore_keys=1_000_000,
        failover_events=2_000_000,
        failover_keys=1_000_000,
        failover_session_ms=6000,
        latency_rate=100_000,
        latency_seconds=10,
        latency_warm_up_seconds=5,
        reads_per_second=5_000,
        read_while_rate=1_000_000,
        read_lead_seconds=10,
        rounds={
            "main_job": 2,
            "main_job_former": 0,
            "stock_faust": 1,
            "quix": 1,
            "latency": 1,
            "high_cardinality": 0,
            "unwindowed": 0,
            "point_reads": 0,
            "scale_out": 0,
            "restore": 1,
            "failover": 0,
        },
    ),
    "tiny": Scale(  # proves that everything works together; its figures mean nothing
        main_job_events=50_000,
        stock_faust_events=1_000,
        quix_events=2_000,
        many_keys=5_000,
        unwindowed_events=20_000,
        unwindowed_keys=4_000,
        restore_events=20_000,
        restore_keys=4_000,
        failover_events=20_000,
        failover_keys=4_000,
        failover_session_ms=1500,
        latency_rate=2_000,
        latency_seconds=2,
        latency_warm_up_seconds=1,
        reads_per_second=100,
        read_while_rate=2_000,
        read_lead_seconds=3,
        rounds={
            "main_job": 1,
            "main_job_former": 0,
            "stock_faust": 1,
            "quix": 1,
            "latency": 1,
            "high_cardinality": 1,
            "unwindowed": 1,
            "point_reads": 1,
            "scale_out": 1,
            "restore": 1,
            "failover": 1,
        },
    ),
}

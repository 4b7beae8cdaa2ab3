"""Measures how soon a killed worker's partitions go on, and for how long others stand still when one goes or comes."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from benchmarks.check import differences
from benchmarks.child import Child, ChildError
from benchmarks.events import Workload
from benchmarks.latency import SILENCE_S_MAX, await_ready
from benchmarks.main_job_run import STALL_S_MAX
from benchmarks.scrape import free_port, sums, values
from benchmarks.trickle import Trickle
from benchmarks.unwindowed_run import WORKER, replayed, totals_per_user
from benchmarks.watched_group import WatchedGroup
from benchmarks.workbench import Workbench

LAG_MAX = 50
"""Offsets that a copy may be behind when the worker is killed; there is always something on its way."""
KILLED, SURVIVOR, GUEST = "killed", "survivor", "guest"
_SHARED = ("HEADRACE_APP_ID", "HEADRACE_DATA_DIR")
_LAST_WORDS_S = 0.2
"""For so long what a killed worker has sent may still count."""


def run_failover(bench: Workbench) -> dict[str, Any]:
    """Two workers share a table without windows, and one is killed while events come in; twice, at first with standbys.

    takeover_s: from the moment when the group has given its partitions to the other one until that has committed
    all of them anew. noticed_s: from the kill to that moment; most of it is the session timeout.
    kill_to_commit_s: both together. stayed_stood_still_s: the longest time for which a partition of the survivor has
    not got further meanwhile. Then, with standbys, a third worker joins, and leaves in order: join_stood_still_s and
    leave_stood_still_s are the same of the partitions that stay with the survivor.
    """
    bench.compile_kernels()
    scale = bench.scale
    workload = Workload(scale.failover_events, scale.failover_keys)
    topic = f"{bench.prefix}.failover"
    bench.topics.create(topic, workload.partitions)
    bench.write(topic, workload)
    trickle = Trickle(bench.servers, topic, workload)
    kept, without = (_run(bench, topic, workload, trickle, replicas) for replicas in (1, 0))
    return {
        **kept,
        "takeover_s_without_standby": without["takeover_s"],
        "records_without_standby": without["records"],
        "seconds": kept["kill_to_commit_s"] + without["kill_to_commit_s"],
        "correct": kept["correct"] and without["correct"],
        "differences": kept["differences"] + without["differences"],
        "without_standby": without,
    }


def _run(
    bench: Workbench, topic: str, workload: Workload, trickle: Trickle, replicas: int
) -> dict[str, Any]:
    session_ms = bench.scale.failover_session_ms
    settings = {
        "BENCH_TOPIC": topic,
        "HEADRACE_STANDBY_REPLICAS": str(replicas),
        "HEADRACE_SESSION_TIMEOUT_MS": str(session_ms),
        "HEADRACE_HEARTBEAT_INTERVAL_MS": str(session_ms // 6),
    }
    label = f"failover, {replicas} standby" + "s" * (replicas != 1)
    with ExitStack() as stack, bench.step(label, 4 + replicas) as step:
        killed = stack.enter_context(_worker(bench, KILLED, settings))
        settings |= {name: killed.environment[name] for name in _SHARED}
        await_ready(killed)
        survivor = stack.enter_context(_worker(bench, SURVIVOR, settings))
        await_ready(survivor)
        step.advance(1)
        name = settings["HEADRACE_APP_ID"]
        group = WatchedGroup(bench.topics, name, topic, workload.partitions, trickle)
        group.await_caught_up(killed, survivor)
        group.watch()
        lost, stay = group.await_shared(killed, survivor)
        _copied(survivor, len(lost) if replicas else 0)
        step.advance(1)
        facts = _killed(group, lost, stay, killed, survivor)
        step.advance(1)
        if replicas:
            group.watch()
            leaves = {**settings, "HEADRACE_LEAVE_ON_STOP": "true"}
            with _worker(bench, GUEST, leaves) as guest:
                facts |= _joined_and_left(group, guest, survivor)
            step.advance(1)
        trickle.flush()
        group.await_caught_up(survivor)
        step.advance(1)
    found = replayed(bench.servers, name, workload.partitions)
    answer = totals_per_user(workload, [*workload.chunks(), workload.closing(), *trickle.sent])
    faults = differences(answer, found)
    return {**facts, "keys": found.height, "correct": not faults, "differences": faults}


def _worker(bench: Workbench, name: str, settings: dict[str, str]) -> Child:
    port = str(free_port())
    return bench.child(
        "failover", WORKER, **settings, HEADRACE_WORKER_ID=name, HEADRACE_WEB_PORT=port
    )


def _port(worker: Child) -> int:
    return int(worker.environment["HEADRACE_WEB_PORT"])


def _copied(survivor: Child, copies: int) -> None:
    """Wait until the worker has this many copies, as of now."""
    deadline = time.monotonic() + STALL_S_MAX
    while time.monotonic() < deadline:
        lags = values(_port(survivor), "headrace_standby_lag_offsets")
        if len(lags) == copies and max(lags, default=0) <= LAG_MAX:
            return
        time.sleep(0.2)
    raise ChildError(f"the worker has {len(lags)} of {copies} copies, with lags of {lags}")


def _killed(
    group: WatchedGroup, lost: set[int], stay: set[int], killed: Child, survivor: Child
) -> dict[str, Any]:
    group.watch()
    records = sums(_port(survivor))["headrace_restore_records_total"]
    survivor.heard()
    killed_at = time.monotonic()
    killed.kill()
    before = group.look_for(_LAST_WORDS_S)
    given_at = group.await_given(survivor, group.partitions)
    group.await_moved(before, lost)
    committed_at = time.monotonic()
    return {
        "takeover_s": committed_at - given_at,
        "noticed_s": given_at - killed_at,
        "kill_to_commit_s": committed_at - killed_at,
        "stayed_stood_still_s": group.stood_still_s(stay),
        "records": int(sums(_port(survivor))["headrace_restore_records_total"] - records),
    }


def _joined_and_left(group: WatchedGroup, guest: Child, survivor: Child) -> dict[str, Any]:
    """A worker that has just been started gets half of the partitions, and is stopped."""
    everything = range(group.partitions)
    _, stay = group.await_shared(guest, survivor)
    group.await_moved(group.look(), everything)
    join_s = group.stood_still_s(stay)
    group.watch()
    survivor.heard()
    guest.stop()
    group.await_given(survivor, group.partitions)
    group.await_moved(group.look(), everything)
    leave_s = group.stood_still_s(stay)
    list(guest.reports(SILENCE_S_MAX))  # until it has ended, and without an error
    return {"join_stood_still_s": join_s, "leave_stood_still_s": leave_s}

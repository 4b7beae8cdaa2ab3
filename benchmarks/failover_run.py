"""Measures how soon a second worker commits what a killed one had, with copies of its tables and without."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from confluent_kafka import Producer

from benchmarks.check import differences
from benchmarks.child import Child, ChildError
from benchmarks.events import Workload, encode
from benchmarks.latency import await_ready
from benchmarks.main_job_run import SAMPLE_INTERVAL_S, STALL_S_MAX
from benchmarks.scrape import free_port, sums, values
from benchmarks.stall import Stall
from benchmarks.unwindowed_run import WORKER, replayed, totals_per_user
from benchmarks.workbench import Workbench

EVENTS_PER_S = 1000
"""That come in while a worker is killed."""
LAG_MAX = 50
"""Offsets that a copy may be behind when the worker is killed; there is always something on its way."""
KILLED, SURVIVOR = "killed", "survivor"


def run_failover(bench: Workbench) -> dict[str, Any]:
    """Two workers share a table without windows, and one is killed while events come in; twice, at first with standbys.

    takeover_s: from the moment when the group has given its partitions to the other one until that has committed
    all of them anew. noticed_s: from the kill to that moment; most of it is the session timeout.
    kill_to_commit_s: both together. stayed_stood_still_s: the longest time for which a partition of the survivor has
    not got further meanwhile.
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


@dataclass
class Trickle:
    """Further events, a few at a time; those that have been sent are told from `sent`."""

    servers: str
    topic: str
    workload: Workload
    sent: list[pl.DataFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 5})
        more = Workload(EVENTS_PER_S * 600, self.workload.keys, seed=self.workload.seed + 1)
        self._events = pl.concat(more.chunks())
        self._at = 0
        self._due = 0.0
        self._since = 0.0

    def begin(self) -> None:
        """From now on events are due."""
        self._since, self._due = time.monotonic(), 0.0

    def go_on(self) -> None:
        """Send what is due by now."""
        elapsed = time.monotonic() - self._since
        count = int((elapsed - self._due) * EVENTS_PER_S)
        events = self._events.slice(self._at, count)
        self._at += count
        self._due += count / EVENTS_PER_S
        codes = events["user_code"].to_list()
        for value, code, partition in zip(encode(events), codes, events["partition"], strict=True):
            user = self.workload.users[code].encode()
            self._producer.produce(self.topic, value, user, partition)
        self._producer.poll(0)
        self.sent.append(events)

    def flush(self) -> None:
        """All that has been sent has arrived."""
        if self._producer.flush(60):
            raise TimeoutError(f"events could not be written to {self.topic} within 60 s")


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
    with ExitStack() as stack, bench.step(label, 4) as step:
        killed = stack.enter_context(_worker(bench, KILLED, settings))
        group = killed.environment["HEADRACE_APP_ID"]
        settings |= {name: killed.environment[name] for name in _SHARED}
        await_ready(killed)
        survivor = stack.enter_context(_worker(bench, SURVIVOR, settings))
        await_ready(survivor)
        step.advance(1)
        _caught_up(bench, group, topic, workload.partitions, killed, survivor)
        lost = _shared(bench, group, topic, survivor)
        _copied(survivor, len(lost) if replicas else 0)
        step.advance(1)
        facts = _killed(bench, group, topic, workload.partitions, lost, killed, survivor, trickle)
        step.advance(1)
        trickle.flush()
        _caught_up(bench, group, topic, workload.partitions, survivor)
        step.advance(1)
    found = replayed(bench.servers, group, workload.partitions)
    answer = totals_per_user(workload, [*workload.chunks(), workload.closing(), *trickle.sent])
    faults = differences(answer, found)
    return {**facts, "keys": found.height, "correct": not faults, "differences": faults}


_SHARED = ("HEADRACE_APP_ID", "HEADRACE_DATA_DIR")


def _worker(bench: Workbench, name: str, settings: dict[str, str]) -> Child:
    port = str(free_port())
    return bench.child(
        "failover", WORKER, HEADRACE_WORKER_ID=name, HEADRACE_WEB_PORT=port, **settings
    )


def _port(worker: Child) -> int:
    return int(worker.environment["HEADRACE_WEB_PORT"])


def _caught_up(bench: Workbench, group: str, topic: str, partitions: int, *workers: Child) -> None:
    """Wait until the group has committed all events."""
    ends = bench.topics.ends(topic, partitions)
    stall = Stall("failover", STALL_S_MAX)
    while (done := bench.topics.committed(group, topic, partitions)) != ends:
        for worker in workers:
            worker.check_alive()
        stall.at(sum(done))
        time.sleep(SAMPLE_INTERVAL_S)


def _shared(bench: Workbench, group: str, topic: str, survivor: Child) -> set[int]:
    """Wait until both have half of the partitions; gives those of the one that is to be killed."""
    deadline = time.monotonic() + STALL_S_MAX
    while time.monotonic() < deadline:
        survivor.check_alive()
        assigned = bench.topics.assigned(group, topic)
        shares = [assigned.get(f"{group}-{name}", set()) for name in (KILLED, SURVIVOR)]
        if all(shares) and len(shares[0]) == len(shares[1]):
            return shares[0]
        time.sleep(SAMPLE_INTERVAL_S)
    raise ChildError("the workers do not share the partitions")


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
    bench: Workbench,
    group: str,
    topic: str,
    partitions: int,
    lost: set[int],
    killed: Child,
    survivor: Child,
    trickle: Trickle,
) -> dict[str, Any]:
    trickle.begin()
    before = bench.topics.committed(group, topic, partitions)
    still = Standstill(set(range(partitions)) - lost)
    _moved(bench, group, topic, before, set(range(partitions)), trickle, still)
    records = sums(_port(survivor))["headrace_restore_records_total"]
    survivor.heard()
    killed_at = time.monotonic()
    killed.kill()
    time.sleep(0.2)  # what it has sent last may still count
    before = bench.topics.committed(group, topic, partitions)
    _moved(bench, group, topic, before, lost, trickle, still)
    committed_at = time.monotonic()
    survivor.check_alive()
    given = [
        found["assigned"] for found in survivor.heard() if found.get("partitions") == partitions
    ]
    if not given:
        raise ChildError("the worker was not given the partitions of the one that was killed")
    return {
        "takeover_s": committed_at - given[0],
        "noticed_s": given[0] - killed_at,
        "kill_to_commit_s": committed_at - killed_at,
        "stayed_stood_still_s": still.longest_s,
        "records": int(sums(_port(survivor))["headrace_restore_records_total"] - records),
    }


class Standstill:
    """The longest time (s) for which one of these partitions has not got further, by the offsets that are seen."""

    def __init__(self, partitions: set[int]) -> None:
        self._moved: dict[int, tuple[int, float]] = dict.fromkeys(partitions, (-1, 0.0))
        self.longest_s = 0.0

    def see(self, offsets: Sequence[int]) -> None:
        """The committed offsets of all partitions, now."""
        now = time.monotonic()
        for number, (offset, since) in self._moved.items():
            if offset >= 0:
                self.longest_s = max(self.longest_s, now - since)
            if offsets[number] != offset:
                self._moved[number] = (offsets[number], now)


def _moved(
    bench: Workbench,
    group: str,
    topic: str,
    before: list[int],
    numbers: set[int],
    trickle: Trickle,
    still: Standstill,
) -> None:
    """Events come in until the group has got further with each of these partitions."""
    stall = Stall("failover", STALL_S_MAX)
    while True:
        trickle.go_on()
        now = bench.topics.committed(group, topic, len(before), stable=False)
        still.see(now)
        moved = sum(now[number] > before[number] for number in numbers)
        if moved == len(numbers):
            return
        stall.at(moved)
        time.sleep(SAMPLE_INTERVAL_S)

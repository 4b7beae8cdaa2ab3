"""Workers are restarted one after the other, and what rebalances and take-overs cost."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from tests.faults.group import PARTITIONS, Group, load, running_group
from tests.faults.standstill import Standstill
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

NO_REBALANCE = {"HEADRACE_SESSION_TIMEOUT_MS": "120000"}  # longer than a start, on any machine
AS_DELIVERED = {
    "HEADRACE_SESSION_TIMEOUT_MS": "6000",
    "HEADRACE_HEARTBEAT_INTERVAL_MS": "1000",
    "HEADRACE_TRANSACTION_TIMEOUT_MS": "15000",
}


def test_rolling_restart(
    broker: str, tmp_path: Path, full_faults: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker that is back within the session timeout costs nobody else a rebalance: it is a static member."""
    others_s, own_s = [], []
    with running_group(broker, tmp_path, **NO_REBALANCE) as group:
        with load(group, new_seed()) as sales:
            group.wait_for_shares(PARTITIONS // len(group.workers))
            group.wait_for_all()
            for item in group.workers * 3 if full_faults else group.workers[:1]:
                own = group.assignment()[group.name(item)]
                others = set(range(PARTITIONS)) - own
                marks = {other: group.log_size(other) for other in group.workers}
                with _watch(broker, group) as watched:
                    group.stop(item)
                    group.wait_for_all(partitions=others)
                    group.start(item)
                    group.wait_until_ready(item)
                    group.wait_for_all()
                others_s.append(watched.longest_s(others))
                own_s.append(watched.longest_s(own))
                for other in set(group.workers) - {item}:
                    with other.log_path.open() as log:
                        log.seek(marks[other])
                        assert "partitions.assigned" not in log.read(), "there was a rebalance"
        group.finish_all(sales)
    with capsys.disabled():
        print(  # noqa: T201
            f"\nrolling restart: the restarted worker's partitions stood still for {_said(own_s)}, "
            f"the others' for {_said(others_s)} at the longest"
        )


@pytest.mark.only_full
def test_costs_of_a_rebalance(
    broker: str, tmp_path: Path, full_faults: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Partitions that stay with their worker while others move, and those of a worker that was killed."""
    stay_s, taken_s = [], []
    settings = AS_DELIVERED if full_faults else {}
    with running_group(broker, tmp_path, started=2, **settings) as group:
        third = group.workers[2]
        with load(group, new_seed()) as sales:
            for _ in range(5 if full_faults else 1):
                before = group.assignment()
                with _watch(broker, group) as watched:
                    group.start(third)
                    group.wait_for_shares(PARTITIONS // len(group.workers))
                    group.wait_for_all()
                after = group.assignment()
                staying = {n for name in before for n in before[name] & after[name]}
                assert staying, (before, after)
                stay_s.append(watched.longest_s(staying))
                with _watch(broker, group) as watched:
                    group.wait_for_all()
                    group.kill(third)
                    group.wait_for_all()
                taken_s.append(watched.longest_s(after[group.name(third)]))
        group.finish_all(sales)
    with capsys.disabled():
        print(  # noqa: T201
            f"\nrebalance: partitions that stay with their worker stood still for {_said(stay_s)}; "
            f"take-over of a killed worker's partitions: {_said(taken_s)} (session timeout "
            f"{group.environment['HEADRACE_SESSION_TIMEOUT_MS']} ms, transaction timeout "
            f"{group.environment['HEADRACE_TRANSACTION_TIMEOUT_MS']} ms)"
        )


def _watch(broker: str, group: Group) -> Standstill:
    return Standstill(broker, group.app_id, group.sources[0])


def _said(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} s (median), {max(seconds):.1f} s (maximum)"

"""Workers join and leave in order while events come in."""

from __future__ import annotations

import random
import time
from pathlib import Path

import orjson
import pytest

from tests.faults.group import PARTITIONS, load, running_group
from tests.faults.standstill import Standstill
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka
_CAME_MIN = 5
_SPARED = 0.7
"""Of the times that one without partitions would have to go."""


def test_from_one_to_four_and_back(
    broker: str, tmp_path: Path, full_faults: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three workers join, and leave for good: what stays with the first goes on, and nothing waits for a session.

    In the short form there are two of them.
    """
    settings = {"HEADRACE_LEAVE_ON_STOP": "true", "HEADRACE_SESSION_TIMEOUT_MS": "30000"}
    size = 4 if full_faults else 3
    with running_group(broker, tmp_path, size, started=1, **settings) as group:
        first, *others = group.workers
        with load(group, new_seed()) as sales:
            with Standstill(broker, group.app_id, group.sources[0]) as joining:
                group.start(*others)
                group.wait_until_ready()
                group.wait_for_shares(PARTITIONS // size)
                group.wait_for_all()
            stays = group.assignment()[group.name(first)]
            with Standstill(broker, group.app_id, group.sources[0]) as leaving:
                group.stop(*others)
                group.wait_for_shares(PARTITIONS, first)
                group.wait_for_all()
        group.finish_all(sales)
    moved = set(range(PARTITIONS)) - stays
    with capsys.disabled():
        print(  # noqa: T201
            f"\nscaling: partitions that stay stood still for {joining.longest_s(stays):.1f} s while {size - 1} "
            f"workers joined, {leaving.longest_s(stays):.1f} s while they left; those that moved for "
            f"{joining.longest_s(moved):.1f} s and {leaving.longest_s(moved):.1f} s"
        )


@pytest.mark.only_full
def test_workers_join_and_leave_all_the_time(
    broker: str, tmp_path: Path, full_faults: bool
) -> None:
    """Every two seconds one comes or goes, at whatever stage of its start, or is spared to get as far as partitions.

    For five minutes, or longer on a machine so busy that hardly any has.
    """
    chance = random.Random(seed := new_seed())
    shares: dict[Worker, int] = {}
    with running_group(broker, tmp_path, 4, started=1) as group:
        first, *others = group.workers
        with load(group, seed) as sales:
            began = time.monotonic()
            while (since_s := time.monotonic() - began) < 300 or _came(others) < _CAME_MIN:
                assert since_s < 900, f"{_came(others)} times one came as far as to have partitions"
                due = time.monotonic() + 2
                item, spared = chance.choice(others), chance.random() < _SPARED
                if not item.running:
                    shares[item] = _shares(item)
                    group.start(item)
                elif _shares(item) > shares[item] or not spared:
                    group.stop_anyhow(item)
                group.let_pass_until(due)
            group.wait_for_all()
        assert first.running
        group.finish_all(sales)


def _came(workers: list[Worker]) -> int:
    """How often one of these was given partitions."""
    return sum(map(_shares, workers))


def _shares(item: Worker) -> int:
    if not item.log_path.exists():
        return 0
    complete = item.log_path.read_bytes().split(b"\n")[:-1]
    return sum(
        event.get("event") == "partitions.assigned" and event["partitions"] > 0
        for event in map(orjson.loads, complete)
    )

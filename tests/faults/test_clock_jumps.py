"""The wall clocks of workers jump by an hour, both ways: nothing that counts is by them."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from app.engine import names
from tests.faults.clock import JUMP_S, Clock
from tests.faults.group import PARTITIONS, Group, load, running_group
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

SETTINGS = {"HEADRACE_SESSION_TIMEOUT_MS": "30000"}  # that a busy machine brings no rebalance about


@pytest.mark.only_full
def test_jumps_of_an_hour(broker: str, tmp_path: Path) -> None:
    """No window closes early or late, no partition seems idle, no worker is expelled, no state seems too old."""
    chance = random.Random(seed := new_seed())
    size = 3
    with running_group(broker, tmp_path, size, started=0, **SETTINGS) as group:
        clocks = {
            item: Clock(item, tmp_path / f"clock-{n}") for n, item in enumerate(group.workers)
        }
        group.start()
        with load(group, seed) as sales:
            group.wait_until_ready()
            group.wait_for_shares(PARTITIONS // size)
            group.wait_for_all()
            marks = {item: group.log_size(item) for item in group.workers}
            for shift_s in _shifts(chance, 20):
                clocks[chance.choice(group.workers)].jump(shift_s)
                group.wait_for_all()
            for item, mark in marks.items():
                assert b"tables.restored" not in item.log_path.read_bytes()[mark:], "a rebalance"
            for shift_s in _shifts(chance, 4):
                item = chance.choice(group.workers)
                clocks[item].jump(shift_s)
                group.kill(item)  # it starts with another time than its state was written at
                group.start(item)
                group.wait_for_all()
        ahead_s = _newest_s(group) - time.time()
        assert ahead_s > JUMP_S / 2, "the clocks were not shifted"
        group.finish_all(sales)


def _shifts(chance: random.Random, count: int) -> list[float]:
    """Ahead, back, and the right time, in any order; ahead in any case."""
    return [JUMP_S, *(chance.choice((JUMP_S, -JUMP_S, 0.0)) for _ in range(count - 1))]


def _newest_s(group: Group) -> float:
    """The newest time that a worker has put on a record of its own."""
    topic = names.changelog_topic(group.app_id, "user_sums")
    return max(message.timestamp()[1] for message in group.cluster.read(topic)) / 1000

"""The group rebalances while a worker restores its state, and state is restored while the group rebalances."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.group import load, running_group
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka


def test_rebalances_and_recoveries_at_once(broker: str, tmp_path: Path, full_faults: bool) -> None:
    """A killed worker comes back with nothing, so all of its state is restored, while another one leaves or joins.

    What the killed one has left open holds the others' take-over up, so the rebalances meet that too.
    """
    chance = random.Random(seed := new_seed())
    with running_group(broker, tmp_path, HEADRACE_LEAVE_ON_STOP="true") as group:
        with load(group, seed) as sales:
            for _ in range(10 if full_faults else 1):
                killed, leaving, _ = chance.sample(group.workers, 3)
                group.kill(killed)
                shutil.rmtree(group.state_of(killed))
                group.start(killed)
                group.wait_for_line(killed, "partitions.assigned")
                group.stop_anyhow(leaving)
                group.start(leaving)
                group.wait_until_ready()
                group.wait_for_all()
        group.finish_all(sales)

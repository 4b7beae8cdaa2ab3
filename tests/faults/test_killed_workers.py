"""Workers of a group are killed at any moment; what they did counts once."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.group import SESSION_TIMEOUT_MS, load, running_group
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka


@pytest.mark.only_full
def test_random_workers_killed(broker: str, tmp_path: Path) -> None:
    """Three workers, twelve partitions; some come back at once, some after the others took over."""
    chance = random.Random(seed := new_seed())
    with running_group(broker, tmp_path) as group:
        with load(group, seed) as sales:
            for number in range(20):
                group.wait_for_progress(group)
                time.sleep(chance.uniform(0, 1))  # the moment is what is random
                item = chance.choice(group.workers)
                group.kill(item)
                if number % 3 == 1:  # the others take over
                    time.sleep(SESSION_TIMEOUT_MS / 1000 + chance.uniform(0, 1))
                group.start(item)
            group.wait_for_all()
        group.finish_all(sales)

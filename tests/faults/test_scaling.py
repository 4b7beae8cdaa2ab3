"""Workers join and leave in order while events come in."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.group import load, new_seed, running_group

pytestmark = pytest.mark.kafka


def test_workers_join_and_leave(broker: str, tmp_path: Path, full_faults: bool) -> None:
    """From one to three workers and back; in the full form one comes or goes every two seconds."""
    chance = random.Random(seed := new_seed())
    with running_group(broker, tmp_path, started=1) as group:
        first, *others = group.workers
        with load(group, seed) as sales:
            if full_faults:
                end = time.monotonic() + 300
                while time.monotonic() < end:
                    due = time.monotonic() + 2
                    item = chance.choice(others)
                    if item.running:
                        group.stop_anyhow(item)
                    else:
                        group.start(item)
                    group.let_pass_until(due)
            else:
                group.start(*others)
                group.wait_until_ready()
                group.wait_for_all()
                group.stop(*others)
            group.wait_for_all()
        assert first.running
        group.finish_all(sales)

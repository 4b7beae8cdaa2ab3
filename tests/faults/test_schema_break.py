"""A schema break in mid-stream: what could not be read is replayed once the schema is mended, and counts once."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from app.engine import names
from tests.faults.group import Group, load, running_group
from tests.kafka.replaying import BEGIN_ALL, MENDED, replay, replay_of
from tests.kafka.sales import SIZE_MS
from tests.kafka.workers import ROOT
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

SHARE_BROKEN = 0.3


def test_fixed_and_replayed(broker: str, tmp_path: Path, full_faults: bool) -> None:
    """Half-way the writers leave out a field. Its windows may have closed by the time it is replayed, or be open.

    The first replay is killed. In the full form workers are killed meanwhile, too.
    """
    chance = random.Random(seed := new_seed())
    with running_group(broker, tmp_path, 3 if full_faults else 2) as group:
        with load(group, seed) as sales:
            sales.share_without_country = SHARE_BROKEN
            until = sales.now + (60 if full_faults else 3) * SIZE_MS
            while sales.now < until:  # so that windows close
                group.wait_for_all()
                if full_faults:
                    group.kill(item := chance.choice(group.workers))
                    group.start(item)
            group.wait_for_all()
        sales.flush()
        group.cluster.wait_for_lag_zero(group.sources, group, 240)
        group.stop()
        broken = len(group.cluster.read(names.dead_letter_topic(group.app_id)))
        assert broken > 0
        for item in group.workers:
            item.environment |= MENDED
        group.start()
        done = _killed_replay(group, chance)
        said = replay(group, **MENDED)
        assert f"{broken - done:,} to replay" in said, (broken, done, said)
        again = replay_of(group.broker, group.app_id)
        again.run(lambda count: None)
        assert again.replayed == 0, "a second replay adds nothing"
        sales.share_without_country = 0.0
        with load(group, seed, sales=sales):
            group.wait_for_all()
        group.environment |= MENDED
        log = group.finish_all(sales, dead=True)
    assert len(log.replayed) == broken, "each dead letter has been replayed once"
    assert log.late < log.replayed, "some were late, some in time for windows that were still open"
    assert log.late


def _killed_replay(group: Group, chance: random.Random) -> int:
    """Begin a replay and kill it at some moment; gives how many it has replayed."""
    with subprocess.Popen([*BEGIN_ALL, group.broker, group.app_id], cwd=ROOT) as process:
        group.wait(
            lambda: bool(group.cluster.partitions(names.replays_topic(group.app_id))),
            120,
            "no replay has begun",
        )
        time.sleep(chance.uniform(0, 0.5))  # the moment is what is random
        process.send_signal(signal.SIGKILL)
    left = replay_of(group.broker, group.app_id).left()
    total = len(group.cluster.read(names.dead_letter_topic(group.app_id)))
    return total - sum(1 for _ in left)

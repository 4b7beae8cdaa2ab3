"""The broker is killed, away or hanging: the workers wait for it, and nothing is lost or counted twice."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.kafka.embedded.broker import Broker
from tests.faults import broken_broker
from tests.faults.fuse import BROKER_KILLED, Fuse
from tests.faults.group import PARTITIONS, load, running_group
from tests.own_broker import own_broker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

SHORT_WATCHDOG = {
    "HEADRACE_TRANSACTION_TIMEOUT_MS": "3000",
    "HEADRACE_WATCHDOG_STALL_MS_MAX": "8000",
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that the tests may harm."""
    folder = tmp_path_factory.mktemp("own")
    with own_broker(folder) as started:
        yield started
    shutil.rmtree(folder)


@pytest.mark.only_full
def test_killed_five_times(own: Broker, tmp_path: Path) -> None:
    """While checkpoints are being committed, and while there is nothing to do."""
    chance = random.Random(seed := new_seed())
    kills, fuse = 5, Fuse(tmp_path / "fuse")
    settings = {
        **fuse.environment,
        "TEST_SEED": str(seed),
        "TEST_BROKER": str(own._folder.path),
    }
    job = "tests.faults.crashing_job"
    with running_group(own.bootstrap_servers, tmp_path, 2, module=job, **settings) as group:
        with load(group, seed) as sales:
            for _ in range(kills):
                group.wait_for_progress(group, 240)
                former = own.pid
                fuse.light(BROKER_KILLED)
                broken_broker.wait_until_back(own, former)
            group.wait_for_all()
        lines = [line for item in group.workers for line in item.log_path.open()]
        assert any("checkpoint.failed" in line and '"EndTxn' in line for line in lines), (
            "no commit was under way when the broker died"
        )
        sales.flush()
        group.cluster.wait_for_lag_zero(group.sources, group, 240)
        for _ in range(kills):
            broken_broker.kill(own)
            time.sleep(chance.uniform(0, 1))
        with load(group, seed, sales=sales):
            pass
        group.finish_all(sales, written_once=False)


@pytest.mark.only_full
@pytest.mark.parametrize("how", ["down", "hanging"])
def test_away_for_longer_than_the_watchdog_waits(own: Broker, tmp_path: Path, how: str) -> None:
    """That the cluster does not answer is no stall: the same processes go on when it is back."""
    seed = new_seed()
    settings: dict[str, str] = {}
    with running_group(own.bootstrap_servers, tmp_path, 2, **settings) as group:
        with load(group, seed) as sales:
            group.wait_for_shares(PARTITIONS // 2, *group.workers)
            group.wait_for_all()  # who has nothing yet that stands still tells nothing
            marks = {item: group.log_size(item) for item in group.workers}
            with getattr(broken_broker, how)(own):
                group.let_pass_until(time.monotonic() + 70)
            group.wait_for_all()
            for item, mark in marks.items():
                group.wait_for_line(item, "cluster.away", since=mark)
                group.wait_for_line(item, "cluster.back", since=mark)
        group.finish_all(sales, written_once=False)


def test_away_when_a_worker_starts(own: Broker, tmp_path: Path, full_faults: bool) -> None:
    """It is waited for a while; after that the worker ends with a line that says why."""
    seed = new_seed()
    with running_group(own.bootstrap_servers, tmp_path, 2, started=1) as group:
        first, second = group.workers
        with load(group, seed) as sales:
            with broken_broker.down(own):
                group.start(second)
                if full_faults:
                    group.expect_end(second, 1, "worker.cannot_start")
                    group.start(second)
                group.wait_for_line(second, "worker.starting")
                group.may_end(second)
            if second.running:
                group.must_run(second)
            else:  # on a busy machine the broker may take longer to come back than it is waited for
                group.expect_end(second, 1, "worker.cannot_start")
                group.start(second)
            group.wait_until_ready(first, second)
            group.wait_for_all()
        group.finish_all(sales, written_once=False)


@pytest.mark.only_full
def test_a_worker_can_be_stopped_while_it_is_away(
    own: Broker, tmp_path: Path, full_faults: bool
) -> None:
    """It does not wait for the broker's return; what was not committed is done by its next start."""
    with running_group(own.bootstrap_servers, tmp_path, 1, **SHORT_WATCHDOG) as group:
        (item,) = group.workers
        with load(group, new_seed()) as sales:
            with broken_broker.down(own):
                group.wait_for_line(item, "checkpoint.failed")
                group.end(item, signal.SIGTERM)
            group.start(item)
            group.wait_for_all()
        group.finish_all(sales, written_once=False)

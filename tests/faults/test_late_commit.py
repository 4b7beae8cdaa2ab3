"""A commit that is on its way for longer than its sender waits, and arrives in the middle of later transactions."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.kafka.transactions.error import Code
from tests.faults.commit_proxy import CommitProxy, commit_proxy
from tests.faults.group import load, running_group
from tests.faults.reachable_broker import ReachableBroker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

REFUSALS = {Code.PRODUCER_FENCED, Code.CONCURRENT_TRANSACTIONS}
"""The second one while a later transaction is just being ended, by which the broker does not look at the epoch yet."""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[CommitProxy]:
    """It stands before a broker that names nobody but the proxy to clients."""
    path = tmp_path / "broker"
    path.mkdir()
    broker = ReachableBroker("127.0.0.1", path)
    with commit_proxy(broker.host, broker.port) as proxy:
        broker.advertise(proxy.port)
        with broker.running():
            yield proxy


@pytest.mark.only_full
def test_a_commit_arrives_late(proxy: CommitProxy, tmp_path: Path) -> None:
    chance = random.Random(seed := new_seed())
    with running_group(f"127.0.0.1:{proxy.port}", tmp_path, 2) as group:
        with load(group, seed) as sales:
            for _ in range(10):
                time.sleep(chance.uniform(0, 0.3))  # the moment is what is random
                proxy.hold_next()
                group.wait_for_all()  # later transactions have been committed by now
                assert proxy.deliver() in REFUSALS
                group.wait_for_all()
        group.finish_all(sales)

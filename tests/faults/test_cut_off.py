"""A worker whose packets are lost: the others take over, and once healed it joins again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.group import SESSION_TIMEOUT_MS, TRANSACTION_TIMEOUT_MS, load, running_group
from tests.faults.network import Namespace, namespace
from tests.faults.reachable_broker import reachable_broker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

TIMEOUTS_S = (SESSION_TIMEOUT_MS + TRANSACTION_TIMEOUT_MS) / 1000
WAYS = {
    "answers-lost": {"outward": False, "inward": True},
    "requests-lost": {"outward": True, "inward": False},
    "both-ways": {"outward": True, "inward": True},
}


@pytest.fixture(scope="module")
def place() -> Iterator[Namespace]:
    with namespace() as made:
        if made is None:
            pytest.skip("no network namespaces here: they need root and the command `ip`")
        yield made


@pytest.fixture(scope="module")
def reachable(place: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with reachable_broker(place.host, tmp_path_factory.mktemp("reachable")) as broker:
        yield broker.servers


@pytest.mark.only_full
@pytest.mark.parametrize("way", WAYS)
def test_cut_off_and_healed(place: Namespace, reachable: str, tmp_path: Path, way: str) -> None:
    with running_group(reachable, tmp_path, 2, started=0) as group:
        item = group.workers[0]
        group.put(item, place)
        group.start()
        with load(group, new_seed()) as sales:
            group.wait_until_ready()
            for _ in range(3):
                mark = group.log_size(item)
                past = time.monotonic() + TIMEOUTS_S
                with place.cut(**WAYS[way]):
                    group.wait_for_all()  # the other one has its partitions now
                    group.let_pass_until(past)
                    assert len(group.assignment()) == 1
                group.wait_for_line(item, "tables.restored", since=mark)
                group.wait_for_all()
        group.finish_all(sales)

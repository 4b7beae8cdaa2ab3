"""Workers on three hosts, each with a disk of its own: one group, which answers for each other over the network."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.group import PARTITIONS, load, running_group
from tests.faults.network import Lan, lan
from tests.faults.reachable_broker import reachable_broker
from tests.kafka.running_job import Job, writing
from tests.kafka.test_reads import Group, check_model, check_while_writing
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

HOSTS = 3


@pytest.fixture
def network() -> Iterator[Lan]:
    with lan(HOSTS) as made:
        if made is None:
            pytest.skip("no network namespaces here: they need root and the command `ip`")
        yield made


@pytest.fixture
def servers(network: Lan, tmp_path: Path) -> Iterator[str]:
    """The broker that all hosts reach."""
    with reachable_broker(network.gateway, tmp_path / "broker") as broker:
        yield broker.servers


def settle(workers: list[Worker], network: Lan, folder: Path) -> None:
    """Give each worker a host, and a disk that no other has."""
    for number, item in enumerate(workers):
        item.prefix = network.prefix(number)
        item.environment |= {
            "HEADRACE_DATA_DIR": str(folder / f"data-{number}"),
            "HEADRACE_WEB_HOST": network.addresses[number],
        }


@pytest.mark.only_full
def test_three_hosts(network: Lan, servers: str, tmp_path: Path) -> None:
    """A host whose cable is out is missed by nobody for long; plugged in again, it has its share again."""
    with ExitStack() as stack:
        job = Job(servers, tmp_path)
        group = Group(job, tmp_path, stack, network.addresses)
        settle(group.workers, network, tmp_path)
        group.start(stack)
        sales = job.first_sales(group.workers[0], new_seed())
        group.until_whole((0, 1, 2))
        sales.write(3_000)
        sales.flush()
        check_model(group, (0, 1, 2))
        with writing(sales):
            wait_until_none_is_idle(job, group)
            with network.unplugged(2):
                group.until_whole((0, 1))
                check_while_writing(group, (0, 1))
            group.until_whole((0, 1, 2))
            check_while_writing(group, (0, 1, 2))
        check_model(group, (0, 1, 2))


@pytest.mark.only_full
def test_each_host_loses_its_worker(network: Lan, servers: str, tmp_path: Path) -> None:
    """Killed under load: the others go on with copies on their own disks, and all that is emitted is there once."""
    chance = random.Random(seed := new_seed())
    with running_group(servers, tmp_path, HOSTS, started=0) as group:
        settle(group.workers, network, tmp_path)
        group.start()
        with load(group, seed) as sales:
            group.wait_until_ready()
            for item in chance.sample(group.workers, HOSTS):
                group.wait_for_shares(PARTITIONS // HOSTS)
                time.sleep(chance.uniform(0, 1))  # the moment is what is random
                group.kill(item)
                group.wait_for_all()  # the others have its partitions now
                group.start(item)
                group.wait_until_ready(item)
            group.wait_for_shares(PARTITIONS // HOSTS)
            group.wait_for_all()
        group.finish_all(sales)


def wait_until_none_is_idle(job: Job, group: Group) -> None:
    """Else the windows would close without the events that wait in the partitions of a lost host."""
    before = job.cluster.committed(job.sources[0])

    def further() -> bool:
        now = job.cluster.committed(job.sources[0])
        return all(now[number] > offset for number, offset in before.items())

    group.until(0, "all partitions have events", further)

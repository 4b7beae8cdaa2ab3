"""Workers on three hosts, each with a disk of its own: one group, which answers for each other over the network."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.network import lan
from tests.faults.reachable_broker import reachable_broker
from tests.kafka.running_job import Job, writing
from tests.kafka.test_reads import Group, check_model, check_while_writing
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka


@pytest.mark.only_full
def test_three_hosts(tmp_path: Path) -> None:
    """A host whose cable is out is missed by nobody for long; plugged in again, it has its share again."""
    with ExitStack() as stack:
        network = stack.enter_context(lan(3))
        if network is None:
            pytest.skip("no network namespaces here: they need root and the command `ip`")
        broker = stack.enter_context(reachable_broker(network.gateway, tmp_path / "broker"))
        job = Job(broker.servers, tmp_path)
        group = Group(job, tmp_path, stack, network.addresses)
        for number, item in enumerate(group.workers):
            item.prefix = network.prefix(number)
            item.environment["HEADRACE_DATA_DIR"] = str(tmp_path / f"host-{number}")
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


def wait_until_none_is_idle(job: Job, group: Group) -> None:
    """Else the windows would close without the events that wait in the partitions of a lost host."""
    before = job.cluster.committed(job.sources[0])

    def further() -> bool:
        now = job.cluster.committed(job.sources[0])
        return all(now[number] > offset for number, offset in before.items())

    group.until(0, "all partitions have events", further)

"""A transaction that nobody ends, as a killed worker leaves it, until Kafka aborts it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from app.kafka.group.membership import Membership
from app.kafka.transactions.producer import TransactionalProducer
from tests.faults.group import load, running_group
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

OPEN_MS = 12_000
SHORTER_MS = "3000"


@pytest.mark.only_full
def test_a_take_over_waits_for_it(broker: str, tmp_path: Path, full_faults: bool) -> None:
    """For longer than a transaction of its own may take: Kafka may be slow to abort, and others more patient."""
    settings = {"HEADRACE_TRANSACTION_TIMEOUT_MS": SHORTER_MS}
    with running_group(broker, tmp_path, 1, **settings) as group:
        (item,) = group.workers
        with load(group, new_seed()) as sales:
            group.stop(item)
            offset = group.positions()[0]
            group.wait(lambda: not group.assignment(), 60, "the group still has a member")
            asyncio.run(_left_open(broker, group.app_id, (group.sources[0], 0), offset + 1))
            left_at = time.monotonic()
            group.start(item)
            group.wait_for_line(item, "tables.restored")
            assert time.monotonic() - left_at > OPEN_MS / 1000 - 1
            group.wait_for_all()
        group.finish_all(sales)


async def _left_open(broker: str, group: str, here: tuple[str, int], offset: int) -> None:
    producer = TransactionalProducer(broker, f"{group}-killed", OPEN_MS)
    await producer.open()
    producer.begin()
    await producer.send_offsets(Membership(group, -1, "", None), {here: (offset, "")})
    await producer.close()

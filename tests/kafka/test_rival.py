"""Who is taken for another process under this worker's name, by what the group's coordinator says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import GroupAuthorizationFailedError
from aiokafka.protocol.admin import DescribeGroupsRequest

from app.kafka.group.faust_assignor import Said
from app.kafka.group.rival import find_rival
from tests.faults import broken_broker
from tests.kafka.running_job import Job, writing
from tests.own_broker import own_broker
from tests.seeds import new_seed

MINE = Said(url="http://member/job-w0", run="mine")
OTHER = Said(url="http://member/job-w0", run="other", web="http://10.0.0.2:6066")
NEIGHBOUR = Said(url="http://member/job-w1", run="another")
OF_BEFORE = Said(url="http://member/job-w0")


def _metadata(said: Said) -> bytes:
    user_data = msgspec.json.encode(said)
    encoded: bytes = ConsumerProtocolMemberMetadata(0, ["sales"], user_data).encode()
    return encoded


async def _found(state: str, *metadata: bytes, code: int = 0) -> tuple[bool, Said | None]:
    async def ask(_request: DescribeGroupsRequest) -> Any:
        members = [(f"id-{n}", "client", "/10.0.0.1", item, b"") for n, item in enumerate(metadata)]
        return SimpleNamespace(groups=[(code, "job", state, "consumer", "faust", members)])

    return await find_rival("job", MINE, ask)


async def test_another_process_under_this_name() -> None:
    assert await _found("Stable", *map(_metadata, (NEIGHBOUR, OTHER))) == (True, OTHER)


@pytest.mark.parametrize(
    "members",
    [
        [],
        [_metadata(MINE)],  # of a join whose answer was lost
        [_metadata(NEIGHBOUR)],
        [_metadata(OF_BEFORE)],  # a version that did not say it
        [b"", b"something else"],
    ],
)
async def test_no_other_process(members: list[bytes]) -> None:
    assert await _found("Stable", *members) == (True, None)


@pytest.mark.parametrize("state", ["PreparingRebalance", "CompletingRebalance"])
async def test_a_group_that_rebalances_does_not_tell(state: str) -> None:
    assert await _found(state, b"", b"") == (False, None)


async def test_a_refusal_is_an_error() -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        await _found("", code=30)


@pytest.mark.kafka
def test_the_group_keeps_what_the_later_process_says(tmp_path: Path) -> None:
    """Also when its coordinator has read the group from its disk: else a worker would find itself to be another."""
    with own_broker(tmp_path / "own") as own:
        job = Job(own.bootstrap_servers, tmp_path)
        with job.worker() as item:
            sales = job.first_sales(item, new_seed())
            with writing(sales):
                job.wait_for_progress(item)
                former = _run(job)
                item.kill()
                item.start()
                job.wait_for_progress(item)
                later = _run(job)
                assert former != later
                broken_broker.kill(own)
                job.wait_for_progress(item)
                assert _run(job) == later
            job.finish(item, sales)


def _run(job: Job) -> str:
    """Of the only member of the group."""

    async def ask() -> str:
        admin = AIOKafkaAdminClient(bootstrap_servers=job.broker)
        await admin.start()
        try:
            async with asyncio.timeout(60):
                while True:
                    (answer,) = await admin.describe_consumer_groups([job.app_id])
                    ((_, _, state, _, _, members, *_),) = answer.groups
                    if state == "Stable":
                        break
                    await asyncio.sleep(0.1)
        finally:
            await admin.close()
        ((_, _, _, metadata, _),) = members
        return Said.by(metadata).run

    return asyncio.run(ask())

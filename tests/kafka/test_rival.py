"""Who is taken for another process under this worker's name, by what the group's coordinator says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import GroupAuthorizationFailedError
from aiokafka.protocol.admin import DescribeGroupsRequest

from app.kafka.group.faust_assignor import Said
from app.kafka.group.rival import find_rival

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

"""Whether another process is in the group under this worker's name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import for_code
from aiokafka.protocol.admin import DescribeGroupsRequest

from app.kafka.group.faust_assignor import Said

_REBALANCING = ("PreparingRebalance", "CompletingRebalance")


async def find_rival(
    group: str, mine: Said, ask: Callable[[DescribeGroupsRequest], Awaitable[Any]]
) -> tuple[bool, Said | None]:
    """Whether the group tells, which it does not while it rebalances; and what the other one has said of itself.

    By what members say, not by their ids: a worker does not know all of its own, of those joins whose answer was
    lost; nor by their client's id and host, which Kafka keeps from the process that had the name before.
    ask: sends a request to the group's coordinator. KafkaError: that does not answer.
    """
    answer = await ask(DescribeGroupsRequest([group]))
    code, _, state, _, _, members, *_ = answer.groups[0]
    if code:
        raise for_code(code)(f"group {group} cannot be described")
    for _, _, _, metadata, _ in members:
        said = Said.by(metadata)
        if said.url == mine.url and said.run not in ("", mine.run):
            return True, said
    return state not in _REBALANCING, None

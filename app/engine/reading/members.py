"""The workers of the group, as those know them who ask them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from app.engine.language.question import Piece, Question


@dataclass(frozen=True)
class Member:
    """A worker of the group.

    id:         given by the group to one process; a restarted worker has another one.
    name:       what people call it; it stays the same when it is restarted.
    address:    of its web server, such as "http://127.0.0.1:6066"; empty when it serves none.
    partitions: assigned to it, by topic.
    """

    id: str
    name: str
    address: str
    partitions: Mapping[str, frozenset[int]] = field(default_factory=dict)


class Place(NamedTuple):
    """This worker's place in the group; NO_GENERATION while it has none, or cannot be sure of it."""

    generation: int
    member: str


class Members(Protocol):
    """Says who is in the group. It may be out of date: each answer says itself what it is worth."""

    async def known(self) -> Sequence[Member]:
        """As they were when this worker last looked; not before the last rebalance."""
        ...

    async def anew(self) -> Sequence[Member]:
        """As they are now, because what is known has proved wrong."""
        ...


Ask = Callable[[Member, Question, Collection[int]], AsyncIterator[Piece]]
"""Asks a worker about some partitions; the last piece is `Covered`. Raises PeerError."""


class PeerError(Exception):
    """Another worker gives no answer; the message says why."""

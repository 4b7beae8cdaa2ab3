"""How partitions move between workers without stopping those that do not: incremental cooperative rebalancing.

The leader of the group aims at an even assignment, but in each generation a partition stays with the worker
that has it. Those that are to move are marked; their worker publishes what it has staged of them, lets them
go, and has the group assign anew. So a partition has one owner in each generation. A worker that is not warm
yet gets nothing that others have: it has the group assign anew when it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from app.engine.work import TopicPartition


@dataclass
class Share:
    """What one member gets: `owned` are its partitions, and it is to let go of `leaving`, which are among them.

    coming: what others are to let go of for it.
    """

    owned: set[TopicPartition] = field(default_factory=set)
    leaving: set[TopicPartition] = field(default_factory=set)
    coming: set[TopicPartition] = field(default_factory=set)


def hand_over(
    target: Mapping[str, Collection[TopicPartition]],
    held: Mapping[str, Collection[TopicPartition]],
    cold: Collection[str] = (),
) -> dict[str, Share]:
    """The shares of this generation.

    target: what each member is to have in the end. held: what it has. cold: the members that are not warm yet.
    """
    holder = {here: member for member in target for here in held.get(member, ())}
    shares = {member: Share() for member in target}
    for member, partitions in target.items():
        for here in partitions:
            owner = holder.get(here, member)
            shares[owner].owned.add(here)
            if owner != member:
                shares[member].coming.add(here)
                if member not in cold:
                    shares[owner].leaving.add(here)
    return shares

"""How partitions move between workers without stopping those that do not: incremental cooperative rebalancing.

The leader of the group aims at an even assignment, but in each generation a partition stays with the worker
that has it. Those that are to move are marked; their worker publishes what it has staged of them, lets them
go, and has the group assign anew. So a partition has one owner in each generation.

A partition moves only when its next worker can go on at once: when its kernels are compiled, and its copies of
the tables are close to the end of their changelogs (as KIP-441 has it for Kafka Streams). It makes the copies
meanwhile, and has the group assign anew when it has them. What nobody has goes to a worker that has copies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from app.engine.processing.work import TopicPartition


@dataclass
class Share:
    """What one member gets: `owned` are its partitions, and it is to let go of `leaving`, which are among them.

    coming: what others have and it is to have in the end; of that, `awaited` until it says that it can take it.
    """

    owned: set[TopicPartition] = field(default_factory=set)
    leaving: set[TopicPartition] = field(default_factory=set)
    coming: set[TopicPartition] = field(default_factory=set)
    awaited: set[TopicPartition] = field(default_factory=set)


def hand_over(
    target: Mapping[str, Collection[TopicPartition]],
    held: Mapping[str, Collection[TopicPartition]],
    able: Callable[[str, TopicPartition], bool],
    ready: Mapping[str, Collection[TopicPartition]],
) -> dict[str, Share]:
    """The shares of this generation.

    target: what each member is to have in the end. held: what it has. able: whether a member could go on with a
    partition at once. ready: the partitions of whose tables it has copies.
    """
    holder = {here: member for member in target for here in held.get(member, ())}
    shares = {member: Share() for member in target}

    def nobodys(here: TopicPartition, member: str) -> str:
        copies = [other for other in target if here in ready.get(other, ())]
        if member in copies or not copies:
            return member
        return min(copies, key=lambda other: len(shares[other].owned))

    for member, partitions in target.items():
        for here in partitions:
            owner = holder.get(here) or nobodys(here, member)
            shares[owner].owned.add(here)
            if owner != member:
                shares[member].coming.add(here)
                if able(member, here):
                    shares[owner].leaving.add(here)
                else:
                    shares[member].awaited.add(here)
    return shares

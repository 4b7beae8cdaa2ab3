"""Partitions move in two rounds, each has one owner in every generation, and what can stay stays."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)
from faust.types import TP

from app.kafka.group.faust_assignor import Assignor

TOPICS = {"sales", "by_country"}
PARTITIONS = 12
EVERYTHING = {TP(topic, number) for topic in TOPICS for number in range(PARTITIONS)}


class Member:
    """One worker as the group knows it: it says what it is, and is told what it gets."""

    def __init__(self, name: str, replicas: int) -> None:
        self.name = name
        self.runner = SimpleNamespace(warm=True)
        self.copies: set[TP] = set()
        conf = SimpleNamespace(consumer_group_instance_id=name)
        tables = SimpleNamespace(data={}, changelog_topics=set())
        sensors = SimpleNamespace(
            on_assignment_start=lambda _: None, on_assignment_completed=lambda *_: None
        )
        app = SimpleNamespace(
            conf=conf,
            settings=SimpleNamespace(standby_replicas=replicas),
            tables=tables,
            web_address="",
            parts=SimpleNamespace(
                runner=self.runner, standbys=SimpleNamespace(ready=lambda: self.copies)
            ),
            processor=SimpleNamespace(
                tables_of=lambda here: [("user_totals", n) for topic, n in here if topic == "sales"]
            ),
            tracer=None,
            sensors=sensors,
        )
        self.assignor = Assignor(app)
        self.generation = -1
        self.held: set[TP] = set()


class Group:
    """The members, and the generations that they go through."""

    def __init__(self, replicas: int = 1) -> None:
        self.generation = 0
        self.replicas = replicas
        self.members: dict[str, Member] = {}

    def add(self, *names: str) -> list[Member]:
        added = [Member(name, self.replicas) for name in names]
        self.members.update((member.name, member) for member in added)
        return added

    def rebalance(self) -> None:
        """All join, the first of them assigns, and each is told."""
        self.generation += 1
        said = {}
        for name, member in self.members.items():
            member.assignor.join(member.generation)
            encoded = member.assignor.metadata(TOPICS).encode()
            said[name] = ConsumerProtocolMemberMetadata.decode(encoded)
        leader = next(iter(self.members.values())).assignor
        leader.form(self.generation)
        cluster: Any = SimpleNamespace(partitions_for_topic=lambda _: set(range(PARTITIONS)))
        owners: dict[TP, str] = {}
        for name, answer in leader.assign(cluster, said).items():
            member = self.members[name]
            told = ConsumerProtocolMemberAssignment.decode(answer.encode())
            member.assignor.on_assignment(told)
            owned = {TP(*tp) for tp in told.partitions()}
            assert owners.keys().isdisjoint(owned)
            owners.update(dict.fromkeys(owned, name))
            if member.generation == self.generation - 1:  # nobody loses what it has not let go of
                assert member.held <= owned
            member.held = owned
            member.generation = self.generation
        assert owners.keys() == EVERYTHING

    def let_go(self) -> bool:
        """Those that are to let partitions go do so; whether anybody was."""
        asked = [member for member in self.members.values() if member.assignor.leaving]
        for member in asked:
            member.held -= member.assignor.leaving
            member.assignor.let_go(member.assignor.leaving)
        return bool(asked)

    def catch_up(self) -> bool:
        """All copies get to the end; whether others have waited for that."""
        for member in self.members.values():
            member.copies = set(member.assignor.standing_by)
        return any(
            member.runner.warm and member.assignor.awaited for member in self.members.values()
        )

    def settle(self) -> int:
        """Rebalance until nobody has to let go, or waits; in how many generations."""
        rounds = 1
        self.rebalance()
        while self.let_go() | self.catch_up():
            self.rebalance()
            rounds += 1
            assert rounds < 10, "it never settles"
        return rounds

    def sizes(self) -> list[int]:
        return sorted(len(member.held) for member in self.members.values())


def test_partitions_move_once_there_are_copies_of_their_tables() -> None:
    group = Group()
    group.add("a")
    assert group.settle() == 1
    group.add("b", "c")
    group.rebalance()
    first, *others = group.members.values()
    assert len(first.held) == 24
    assert {tp.topic for tp in first.assignor.leaving} == {"by_country"}, "it has no tables"
    moving = frozenset().union(*(member.assignor.awaited for member in others))
    assert len(moving) == 8
    assert group.let_go() and group.catch_up()
    group.rebalance()
    assert first.assignor.leaving == moving
    stays = first.held - moving
    assert group.let_go()
    group.rebalance()
    assert not group.let_go()
    assert first.held == stays
    assert group.sizes() == [8, 8, 8]


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_a_dead_worker_had_goes_to_its_standbys(replicas: int) -> None:
    """To all of them at once, and on from there if that is uneven."""
    chance = random.Random(replicas)
    group = Group(replicas)
    group.add("a", "b", "c", "d")
    group.settle()
    for number in range(20):
        group.catch_up()
        dead = group.members.pop(chance.choice(sorted(group.members)))
        before = {name: set(member.held) for name, member in group.members.items()}
        copies = {name: set(member.copies) for name, member in group.members.items()}
        group.rebalance()
        for name, member in group.members.items():
            taken = {tp for tp in member.held - before[name] if tp.topic == "sales"}
            assert taken <= copies[name]
        assert {tp for tp in dead.held if tp.topic == "sales"} <= set().union(*copies.values())
        group.settle()
        group.add(f"w{number}")
        group.settle()
        assert group.sizes() == [6, 6, 6, 6]


def test_a_worker_that_is_not_warm_gets_nothing_that_others_have() -> None:
    group = Group()
    group.add("a")
    group.settle()
    (cold,) = group.add("b")
    cold.runner.warm = False
    assert group.settle() == 1
    assert not cold.held
    assert cold.assignor.awaited
    cold.runner.warm = True
    assert group.settle() == 2
    assert group.sizes() == [12, 12]
    assert not cold.assignor.awaited


def test_a_worker_that_missed_a_generation_keeps_nothing_by_right() -> None:
    group = Group()
    stuck, other = group.add("a", "b")
    group.settle()
    del group.members["a"]
    group.settle()
    assert other.held == EVERYTHING
    group.members["a"] = stuck  # it still believes in what it had
    group.rebalance()
    assert other.held == EVERYTHING
    assert not stuck.held


@pytest.mark.parametrize("seed", range(20))
def test_any_coming_and_going_settles_evenly(seed: int) -> None:
    chance = random.Random(seed)
    group = Group(replicas=seed % 3)
    group.add("w0")
    group.settle()
    for number in range(1, 30):
        gone = [name for name in group.members if chance.random() < 0.2]
        for name in gone[: len(group.members) - 1]:
            del group.members[name]
        if len(group.members) < 4 and chance.random() < 0.7:
            group.add(f"w{number}")
        if chance.random() < 0.3:  # another rebalance begins before anybody has let go
            group.rebalance()
        assert group.settle() <= 3
        largest = -(-PARTITIONS // len(group.members))
        assert group.sizes()[-1] == 2 * largest
        for topic_of in TOPICS:  # partitions of one number are together
            for member in group.members.values():
                assert {tp.partition for tp in member.held if tp.topic == topic_of} == {
                    tp.partition for tp in member.held
                }

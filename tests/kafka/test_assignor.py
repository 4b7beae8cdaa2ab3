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

from app.kafka.faust_assignor import Assignor

TOPICS = {"sales", "by_country"}
PARTITIONS = 12
EVERYTHING = {TP(topic, number) for topic in TOPICS for number in range(PARTITIONS)}


class Member:
    """One worker as the group knows it: it says what it is, and is told what it gets."""

    def __init__(self, name: str, replicas: int) -> None:
        self.name = name
        self.runner = SimpleNamespace(warm=True)
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
            runner=self.runner,
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

    def settle(self) -> int:
        """Rebalance until nobody has to let go; in how many generations."""
        rounds = 1
        self.rebalance()
        while self.let_go():
            self.rebalance()
            rounds += 1
            assert rounds < 5, "it never settles"
        return rounds

    def sizes(self) -> list[int]:
        return sorted(len(member.held) for member in self.members.values())


def test_partitions_move_in_two_rounds() -> None:
    group = Group()
    group.add("a")
    assert group.settle() == 1
    group.add("b", "c")
    group.rebalance()
    first = group.members["a"]
    assert len(first.held) == 24
    assert len(first.assignor.leaving) == 16
    stays = first.held - first.assignor.leaving
    assert group.let_go()
    group.rebalance()
    assert not group.let_go()
    assert first.held == stays
    assert group.sizes() == [8, 8, 8]


def test_a_worker_that_is_not_warm_gets_nothing_that_others_have() -> None:
    group = Group()
    group.add("a")
    group.settle()
    (cold,) = group.add("b")
    cold.runner.warm = False
    assert group.settle() == 1
    assert not cold.held
    assert cold.assignor.waiting
    cold.runner.warm = True
    assert group.settle() == 2
    assert group.sizes() == [12, 12]
    assert not cold.assignor.waiting


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
    group = Group()
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

"""Faust's partition assignor, for workers that keep their partitions while the group rebalances."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)
from faust.assignor.partition_assignor import PartitionAssignor
from faust.types import TP
from yarl import URL

from app.kafka.group.hand_over import Share, hand_over

Numbers = dict[str, list[int]]
"""Partitions by topic."""


class Assignor(PartitionAssignor):  # type: ignore[misc]
    """Names a worker by what is stable, and moves partitions cooperatively (see `hand_over`).

    A static member that restarts gets its old assignment back, and Faust's assignor ends the consumer when
    the URL in it is not its own. It makes that of the web server's address, which changes when the port is
    taken at the next start.

    Faust's assignor is sticky: it goes by what each worker says that it has been assigned. Here that is what it
    is to have in the end, so that the aim stays the same while partitions move.

    What else workers tell each other travels beside what Faust's assignor says, and it passes over it: when
    a worker joins, its web address (the group tells it to those who ask: `GroupMembers`), what it holds, and of
    what it has copies; in its assignment, what it is to let go of, and what is still to come.

    Its methods are called in the consumer's thread, `let_go` in any.
    """

    def __init__(self, app: Any, replicas: int = 0) -> None:
        # at least one is placed, if not kept up: it is how Faust's assignor remembers who is to have what
        super().__init__(app, max(1, app.settings.standby_replicas))
        self._run = uuid.uuid4().hex
        self._held: frozenset[TP] = frozenset()
        self._joined = -1
        self._forming = -1
        self._joining: dict[str, Said] = {}
        self._aim: dict[str, Numbers] = {}
        self.leaving: frozenset[TP] = frozenset()
        self.standing_by: frozenset[TP] = frozenset()
        """Of what others have, that of whose tables this worker is to have copies."""
        self.departed: frozenset[str] = frozenset()
        """Workers that have been members beside this one and are not now, by their instance ids."""
        self.awaited: frozenset[TP] = frozenset()
        """What others keep until this worker says that it can take it."""

    @property
    def _url(self) -> URL:
        # behind the host, which knows no upper case
        return URL(f"http://member/{self.app.conf.consumer_group_instance_id}")

    @property
    def mine(self) -> Said:
        """By what the group knows this worker, and this process of it."""
        return Said(url=str(self._url), run=self._run)

    @property
    def leaves_on_stop(self) -> bool:
        """Whether this worker gives its place up when it is stopped."""
        return bool(self.app.settings.leave_on_stop)

    def join(self, generation: int) -> None:
        """This worker joins the group again; generation: that in which it was a member last, -1: it is none."""
        self._joined = generation
        if generation < 0:  # it still says what it has had, and is likely to get that again
            self._held = frozenset()

    def let_go(self, partitions: Iterable[TP]) -> None:
        """This worker holds these no more, and says so when it joins next."""
        self._held -= frozenset(partitions)

    def metadata(self, topics: set[str]) -> ConsumerProtocolMemberMetadata:
        """What this worker says of itself when it joins the group."""
        said = super().metadata(topics)
        parts = self.app.parts
        ours = {
            "run": self._run,
            "web": self.app.web_address,
            "held": _numbers(self._held),
            "joined": self._joined,
            "warm": parts is not None and parts.runner.warm,
            "ready": _numbers(parts.standbys.ready() if parts is not None else ()),
        }
        user_data = {**msgspec.json.decode(said.user_data), **ours}
        user_data["assignment"] |= self._aim
        return ConsumerProtocolMemberMetadata(
            said.version, said.subscription, msgspec.json.encode(user_data)
        )

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """What the group has assigned to this worker."""
        before = self.external_topic_distribution.keys()
        super().on_assignment(assignment)
        now = self.external_topic_distribution.keys()
        self.departed = (self.departed | _names(before)) - _names(now)
        told = msgspec.json.decode(zlib.decompress(assignment.user_data), type=_Told)
        self._aim = told.aim
        self.leaving = frozenset(_partitions(told.leaving))
        self.awaited = frozenset(_partitions(told.awaited))
        self._held = frozenset(self.assigned_actives())
        standbys = self.assigned_standbys() if self.app.settings.standby_replicas else set()
        self.standing_by = frozenset(standbys | set(_partitions(told.coming)))

    def given(self, topic: str) -> int:
        """How many partitions of a topic the members of the group have in all."""
        return sum(len(of.get(topic, ())) for of in self.external_topic_distribution.values())

    def form(self, generation: int) -> None:
        """This worker leads the group, and is about to assign its partitions in this generation."""
        self._forming = generation

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        self._joining = {member: Said.of(said) for member, said in member_metadata.items()}
        return super()._perform_assignment(cluster, member_metadata)

    def _protocol_assignments(
        self, assignments: Any, changelogs: Any, topics: Any, topic_groups: Any
    ) -> Any:
        target = {member: _partitions(item.actives) for member, item in assignments.items()}
        aims = {
            member: {"actives": dict(item.actives), "standbys": dict(item.standbys)}
            for member, item in assignments.items()
        }
        # one that has missed a generation may hold what others have worked on since
        held = {
            member: _partitions(said.held)
            for member, said in self._joining.items()
            if said.joined == self._forming - 1
        }
        ready = {member: set(_partitions(said.ready)) for member, said in self._joining.items()}

        def able(member: str, here: TP) -> bool:
            has = here in ready[member] or not self.app.processor.tables_of([here])
            return has and self._joining[member].warm

        shares = hand_over(target, held, able, ready)
        for member, share in shares.items():
            _give(assignments[member], share)
        answers = super()._protocol_assignments(
            assignments,
            self._get_changelog_distribution(assignments),
            self._get_external_topic_distribution(assignments),
            topic_groups,
        )
        for member, answer in answers.items():
            said = msgspec.json.decode(zlib.decompress(answer.user_data))
            said["aim"] = aims[member]
            said["leaving"] = _numbers(shares[member].leaving)
            said["coming"] = _numbers(shares[member].coming)
            said["awaited"] = _numbers(shares[member].awaited)
            answer.user_data = zlib.compress(msgspec.json.encode(said))
        return answers


def _give(assignment: Any, share: Share) -> None:
    """What is to come has a standby meanwhile."""
    standbys = set(_partitions(assignment.standbys)) | share.coming
    topics = assignment.actives.keys() | assignment.standbys.keys()
    owned, standing_by = _numbers(share.owned), _numbers(standbys - share.owned)
    assignment.actives = {topic: owned.get(topic, []) for topic in topics | owned.keys()}
    assignment.standbys = {topic: standing_by.get(topic, []) for topic in topics}


def _names(urls: Iterable[str]) -> set[str]:
    return {URL(url).name for url in urls}


def _numbers(partitions: Iterable[tuple[str, int]]) -> Numbers:
    numbers: Numbers = {}
    for topic, number in sorted(partitions):
        numbers.setdefault(topic, []).append(number)
    return numbers


def _partitions(numbers: Numbers) -> list[TP]:
    return [TP(topic, number) for topic, found in numbers.items() for number in found]


class _Told(msgspec.Struct):
    aim: dict[str, Numbers] = {}
    leaving: Numbers = {}
    coming: Numbers = {}
    awaited: Numbers = {}


class Said(msgspec.Struct):
    """What is of interest of what a member says of itself.

    run: its process. joined: the generation in which it was a member last. held: the partitions that it has had since.
    warm: its kernels are compiled. ready: the partitions of whose tables it has copies.
    """

    url: str = ""
    run: str = ""
    web: str = ""
    joined: int = -1
    held: Numbers = {}
    warm: bool = True
    ready: Numbers = {}

    @classmethod
    def by(cls, metadata: Any) -> Said:
        """Read the metadata of a member of the group; a foreign one has said nothing."""
        try:
            return cls.of(ConsumerProtocolMemberMetadata.decode(metadata))
        except ValueError:
            return cls()

    @classmethod
    def of(cls, metadata: ConsumerProtocolMemberMetadata) -> Said:
        """The same of metadata that have been decoded."""
        try:
            return msgspec.json.decode(metadata.user_data or b"{}", type=cls)
        except msgspec.MsgspecError:
            return cls()

"""Answers from all workers of the group, each for the partitions that it owns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import polars as pl

from app.codecs import murmur2
from app.engine.language.answers import Gathered
from app.engine.language.parts_missing import PartsMissingError
from app.engine.language.question import NO_GENERATION, Covered, Key, Piece, Question, Rows
from app.engine.processing.processor import Processor
from app.engine.reading.local_answers import LocalAnswers
from app.engine.reading.members import Ask, Member, Members, PeerError
from app.engine.reading.merged import merged


class GroupAnswers:
    """Gathers an answer from the owners of a table's partitions.

    `members` only says where to ask. What holds is what an answer says of itself: each partition is asked
    for once, and counts when its owner says that it has answered for it in full, in the newest generation
    of the group that any of the answers or this worker knows of. Where that fails, the owners are looked up
    anew, and partitions that have another one now are asked for once more.

    counts: the number of partitions of each topic.
    """

    def __init__(
        self,
        processor: Processor,
        local: LocalAnswers,
        members: Members,
        ask: Ask,
        counts: Mapping[str, int],
    ) -> None:
        self._processor = processor
        self._local = local
        self._members = members
        self._ask = ask
        self._counts = counts

    def placed(self, table: str, keys: pl.DataFrame) -> Sequence[int] | None:
        """The partition of each key; None for a table whose events a producer has placed as it likes."""
        definition = self._processor.tables[table]
        if definition.aligned:
            return None
        return murmur2.partitions(definition.key_text(keys), self._count(table)).to_list()

    def ready(self, table: str, key: Key) -> Sequence[Rows] | None:
        """The rows of one key, if all partitions that it can be in are this worker's, and they are ready here."""
        if self._local.place().generation == NO_GENERATION:
            return None
        definition, count = self._processor.tables[table], self._count(table)
        mine = self._local.partitions(table)
        if len(mine) == count:
            return self._local.ready(table, key)
        if definition.aligned or (text := definition.one_key_text(key)) is None:
            return None
        number = murmur2.partition(text.encode(), count)
        return self._local.ready(table, key, (number,)) if number in mine else None

    async def gather(self, question: Question, partitions: Collection[int] | None) -> Gathered:
        """The answer of these partitions, or of all."""
        count = self._count(question.table)
        reading = _Reading(frozenset(range(count) if partitions is None else partitions))
        frames: dict[int, list[pl.DataFrame]] = {number: [] for number in reading.wanted}
        async for rows in self._round(question, reading, await self._sources(question, reading)):
            frames[rows.partition].append(rows.frame)
        if missing := reading.missing():
            again = await self._sources_anew(question, reading, missing)
            frames.update({number: [] for _, numbers in again for number in numbers})
            async for rows in self._round(question, reading, again):
                frames[rows.partition].append(rows.frame)
        missing = reading.missing()
        whole = [frame for number in frames.keys() - missing.keys() for frame in frames[number]]
        return Gathered(whole, missing, count)

    async def stream(self, question: Question) -> AsyncIterator[pl.DataFrame]:
        """The answer of all partitions, frame by frame. PartsMissingError, at the end: of some there is none."""
        count = self._count(question.table)
        reading = _Reading(frozenset(range(count)))
        begun = set()
        async for rows in self._round(question, reading, await self._sources(question, reading)):
            begun.add(rows.partition)
            yield rows.frame
        if missing := reading.missing():
            again = await self._sources_anew(question, reading, missing.keys() - begun)
            async for rows in self._round(question, reading, again):
                yield rows.frame
        if missing := reading.missing():
            raise PartsMissingError(question.table, missing, count, pl.DataFrame())

    def _count(self, table: str) -> int:
        return self._counts[self._processor.read_topic(self._processor.tables[table])]

    # -- who is asked for what --------------------------------------------------------------------

    async def _sources(self, question: Question, reading: _Reading) -> list[_Source]:
        """This worker for what it has, and the others for the rest."""
        mine = self._local.partitions(question.table) & reading.wanted
        rest = reading.wanted - mine
        found: list[_Source] = [(None, mine)] if mine else []
        if rest:
            found += self._owners(question.table, rest, await self._members.known())
        return found

    async def _sources_anew(
        self, question: Question, reading: _Reading, missing: Iterable[int]
    ) -> list[_Source]:
        """The owners of what is missing, as far as they are others than those that were asked."""
        missing = frozenset(missing)
        mine = self._local.partitions(question.table) & missing
        news: list[_Source] = [(None, mine)] if mine else []
        owners = self._owners(question.table, missing - mine, await self._members.anew())
        for member, numbers in owners:
            others = frozenset(n for n in numbers if reading.asked.get(n) != _who(member))
            if others:
                news.append((member, others))
        return news

    def _owners(
        self, table: str, numbers: frozenset[int], members: Iterable[Member]
    ) -> list[_Source]:
        topic = self._processor.read_topic(self._processor.tables[table])
        me = self._local.place().member
        found: list[_Source] = [
            (member, numbers & member.partitions.get(topic, frozenset()))
            for member in members
            if member.id != me
        ]
        return [(member, owned) for member, owned in found if owned]

    # -- their answers ------------------------------------------------------------------------------

    async def _round(
        self, question: Question, reading: _Reading, sources: Sequence[_Source]
    ) -> AsyncIterator[Rows]:
        reading.newest = max(reading.newest, self._local.place().generation)
        answers = [self._answer(question, *source) for source in sources]
        async for member, numbers, piece in merged(answers):
            if not isinstance(piece, Rows):
                reading.told(member, numbers, piece)
            elif piece.partition in numbers:
                yield piece

    async def _answer(
        self, question: Question, member: Member | None, numbers: frozenset[int]
    ) -> AsyncIterator[tuple[Member | None, frozenset[int], Piece | PeerError]]:
        pieces = (
            self._local.answer(question, numbers)
            if member is None
            else self._ask(member, question, numbers)
        )
        try:
            async for piece in pieces:
                yield member, numbers, piece
        except PeerError as error:
            yield member, numbers, error


_Source: TypeAlias = tuple[Member | None, frozenset[int]]
"""Who is asked, None for this worker itself, and for which partitions."""


@dataclass
class _Reading:
    """How far a question is answered.

    newest: the newest generation that is known of. covered: partition to the generation of its answer.
    reasons: why a partition is not covered, if it is not. asked: partition to whom was asked for it.
    """

    wanted: frozenset[int]
    newest: int = NO_GENERATION
    covered: dict[int, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    asked: dict[int, tuple[str, str]] = field(default_factory=dict)

    def told(
        self, member: Member | None, numbers: frozenset[int], end: Covered | PeerError
    ) -> None:
        """An answer has come to its end."""
        name = member.name if member else "this worker"
        sure = isinstance(end, Covered) and end.generation != NO_GENERATION
        for number in numbers:
            self.asked[number] = _who(member)
            if isinstance(end, PeerError):
                self.reasons[number] = f"{name}: {end}"
            elif not sure:
                self.reasons[number] = f"{name} is not sure of its place in the group"
            elif number in end.partitions:
                self.covered[number] = end.generation
                self.reasons[number] = f"{name} has not come to the group's newest state"
            else:
                self.reasons[number] = f"{name} does not have it yet, or no more"
        if isinstance(end, Covered):
            self.newest = max(self.newest, end.generation)

    def missing(self) -> dict[int, str]:
        """The partitions without an answer that holds, and why."""
        return {
            number: self.reasons.get(number, "no worker owns it now")
            for number in sorted(self.wanted)
            if number not in self.covered or self.covered[number] < self.newest
        }


def _who(member: Member | None) -> tuple[str, str]:
    return (member.id, member.address) if member else ("", "")

"""Workers of a group in one process: one engine, whose partitions are shared out among owners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.engine.language.question import Covered, Piece, Question, Rows
from app.engine.language.reads import TableReads
from app.engine.language.table import Table
from app.engine.reading.committed_reader import CommittedReader
from app.engine.reading.group_answers import GroupAnswers
from app.engine.reading.local_answers import LocalAnswers
from app.engine.reading.members import Member, PeerError, Place
from tests.engine.sales import Sale
from tests.engine.segments import segments_of
from tests.engine.workbench import Workbench

PARTITIONS = 6
SALES = 60


@dataclass
class Owner:
    """One worker: what it owns, and how it behaves. frames_max: it dies after so many frames."""

    name: str
    owns: set[int]
    generation: int = 1
    alive: bool = True
    frames_max: int | None = None
    asked: list[tuple[Question, tuple[int, ...]]] = field(default_factory=list)

    def member(self, topics: Collection[str]) -> Member:
        return Member(self.name, self.name, "", {topic: frozenset(self.owns) for topic in topics})


class _Local(LocalAnswers):
    def __init__(self, reader: CommittedReader, thread: ThreadPoolExecutor, owner: Owner) -> None:
        super().__init__(reader, thread)
        self._owner = owner
        self.place = lambda: Place(owner.generation, owner.name)

    def partitions(self, table: str) -> frozenset[int]:
        return frozenset(self._owner.owns)

    async def answer(self, question: Question, partitions: Collection[int]) -> AsyncIterator[Piece]:
        self._owner.asked.append((question, tuple(sorted(partitions))))
        owned = set(partitions) & self._owner.owns
        async for piece in super().answer(question, owned):
            yield piece


class Group:
    """Some owners; the first one is the worker whose tables are read.

    directory: what that worker knows of the others until it looks anew; None: the truth.
    """

    def __init__(self, bench: Workbench, owners: Sequence[Owner]) -> None:
        self.bench = bench
        self.owners = list(owners)
        self.reader = bench.worker.reader
        self._processor = bench.worker.processor
        self._thread = ThreadPoolExecutor(1)
        self.locals = {owner.name: _Local(self.reader, self._thread, owner) for owner in owners}
        self.directory: list[Member] | None = None
        self.looked = 0

    def answers(self) -> GroupAnswers:
        """What the first worker asks."""
        counts = dict.fromkeys(self._processor.topics, PARTITIONS)
        local = self.locals[self.owners[0].name]
        return GroupAnswers(self._processor, local, self, self.ask, counts)

    def reads(self, table: Table) -> TableReads:
        """The table as the first worker reads it."""
        return TableReads(table, self.answers())

    def truth(self) -> list[Member]:
        return [owner.member(self._processor.topics) for owner in self.owners]

    async def known(self) -> Sequence[Member]:
        return self.truth() if self.directory is None else self.directory

    async def anew(self) -> Sequence[Member]:
        self.looked += 1
        return self.truth()

    async def ask(
        self, member: Member, question: Question, partitions: Collection[int]
    ) -> AsyncIterator[Piece]:
        owner = next(owner for owner in self.owners if owner.name == member.name)
        if not owner.alive:
            raise PeerError("it is dead")
        frames = 0
        async for piece in self.locals[owner.name].answer(question, partitions):
            if isinstance(piece, Rows):
                frames += 1
            if owner.frames_max is not None and frames > owner.frames_max:
                raise PeerError("it dies")
            assert isinstance(piece, (Rows, Covered))
            yield piece

    def go_on(self) -> None:
        """One more sale, and a checkpoint."""
        self.bench.send(0, [(SALES, Sale(shop="another", region="another", size=SALES))])
        self.bench.settle()

    def close(self) -> None:
        self._thread.shutdown()


@asynccontextmanager
async def group_of(tables: Sequence[Table], owners: Sequence[Owner]) -> AsyncIterator[Group]:
    """A group over an engine that has read some sales."""
    bench = await asyncio.to_thread(_bench, tables)
    group = Group(bench, owners)
    try:
        yield group
    finally:
        group.close()
        await asyncio.to_thread(bench.close)


def _bench(tables: Sequence[Table]) -> Workbench:
    bench = Workbench(tables, PARTITIONS)
    with segments_of(rows_max=2):
        for number in range(SALES):
            shop, region = f"shop {number % 20}", f"region {number % 7}"
            sale = Sale(shop=shop, region=region, size=number, gift=number % 2 == 0)
            bench.send(number % 20 % PARTITIONS, [(number, sale)])
        bench.settle()
    return bench

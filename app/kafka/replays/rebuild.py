"""Rebuilding one table from its source on a cluster, while no worker of its group runs.

Every step is a transaction: the mark that the state is not whole, the end of the old segments, new ones, and at last
the checkpoint records together with the offsets. One that is interrupted leaves the mark, and begins anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka.errors import KafkaError as AioKafkaError
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from app.codecs.record_batch import CorruptRecordBatch
from app.engine import names
from app.engine.language.batch import Update
from app.engine.language.table import Table
from app.engine.processing.agent import AgentRunner
from app.engine.processing.checkpoint import Checkpoint
from app.engine.processing.offset_note import OffsetNote
from app.engine.processing.source import Source
from app.engine.rebuild import Rebuild
from app.engine.state.sizes import Sizes
from app.engine.state.store import Store, StoreWrite
from app.engine.state.table_partition import Change
from app.kafka.changelogs.reader import ChangelogError
from app.kafka.changelogs.records import earlier_state
from app.kafka.group.membership import Membership
from app.kafka.offsets import PartitionEnds
from app.kafka.replays.source_replay import SourceReplay
from app.kafka.transactions.error import Code, TransactionError
from app.kafka.transactions.outbox import Outbox
from app.kafka.transactions.producer import TransactionalProducer

_ASK_AGAIN_S = 0.5
_NO_MEMBER = -1


class RebuildError(RuntimeError):
    """The table cannot be rebuilt now; the message says why, and what to do."""


@dataclass(frozen=True)
class Rebuilt:
    """How many events were read, and of how many records' offsets."""

    events: int
    records: int


@dataclass(frozen=True)
class Pace:
    """Limits: of what is staged in memory and of one fetch (bytes), of a transaction and of the group (s)."""

    staged_bytes_max: int
    fetch_bytes_max: int
    transaction_timeout_ms: int
    session_timeout_s: float


class TableRebuild:
    """store: an empty one, which the rebuild alone uses. counts: the number of partitions of each topic.

    told: called with a line for people. progress: called with the records that are read, and all there are.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        app_id: str,
        table: Table,
        source: Source,
        agents: Sequence[AgentRunner],
        store: Store,
        counts: Mapping[str, int],
        sizes: Sizes,
        pace: Pace,
        *,
        told: Callable[[str], None],
        progress: Callable[[int, int], None],
    ) -> None:
        self._servers = bootstrap_servers
        self._app_id = app_id
        self._table = table
        self._source = source
        self._agents = [agent.fresh() for agent in agents if agent.cls is table.fed_by]
        self._store = store
        self._sizes = sizes
        self._pace = pace
        self._told = told
        self._progress = progress
        self._changelog = names.changelog_topic(app_id, table.name)
        self._sources = [(table.topic, number) for number in range(counts[table.topic])]
        self._partitions = counts[self._changelog]
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        self._ends = PartitionEnds(bootstrap_servers, app_id, timeout_s=self._timeout_s)
        self._replay = SourceReplay(
            bootstrap_servers,
            app_id,
            table.topic,
            fetch_bytes_max=pace.fetch_bytes_max,
            timeout_s=self._timeout_s,
        )
        self._outbox = Outbox(app_id)
        self._producer = TransactionalProducer(
            bootstrap_servers, f"{app_id}-rebuild-{table.name}", pace.transaction_timeout_ms
        )

    @property
    def _timeout_s(self) -> float:
        return 2 * self._pace.transaction_timeout_ms / 1000

    def run(self, since_ms: int | None) -> Rebuilt:
        """Do it. since_ms: of the records' timestamps; None: all that is retained (blocks). RebuildError."""
        try:
            return asyncio.run(self._run(since_ms))
        except TransactionError as error:
            raise RebuildError(f"Kafka: {error}; run it again") from error
        except KafkaException as error:
            raise RebuildError(f"Kafka: {error.args[0].str()}; run it again") from error
        except (AioKafkaError, TimeoutError) as error:
            raise RebuildError(f"Kafka: {error!s}; run it again") from error
        except ChangelogError as error:
            raise RebuildError(f"{error}; run it again") from error
        except CorruptRecordBatch as error:
            raise RebuildError(f"bytes were damaged on their way: {error}; run it again") from error

    async def _run(self, since_ms: int | None) -> Rebuilt:
        self._wait_until_alone()
        await self._producer.open()  # fences another rebuild of the table, and ends its transaction
        try:
            rebuild, notes = await self._begin()
            count = await self._read(
                rebuild, {n: offset for n, (offset, _) in notes.items()}, since_ms
            )
            await self._finish(rebuild, notes)
            return Rebuilt(rebuild.events, count)
        finally:
            for agent in self._agents:
                await agent.stop()
            await self._producer.close()

    # -- no worker may run -----------------------------------------------------------------------

    def _wait_until_alone(self) -> None:
        """Wait for the session timeout, until which a stopped worker is counted. RebuildError: one runs."""
        deadline = time.monotonic() + self._pace.session_timeout_s + 2
        told = False
        while members := self._members():
            if time.monotonic() > deadline:
                raise RebuildError(
                    f"{len(members)} workers of {self._app_id!r} run ({', '.join(members)}): "
                    "stop all of them, and run it again"
                )
            if not told:
                self._told(f"waiting for {', '.join(members)} to leave the group {self._app_id}")
                told = True
            time.sleep(_ASK_AGAIN_S)

    def _refuse_members(self) -> None:
        """One that joins now finds the mark; one that joined before it may not have."""
        if members := self._members():
            raise RebuildError(
                f"a worker has joined meanwhile ({', '.join(members)}): stop it, and run the rebuild again"
            )

    def _members(self) -> list[str]:
        (future,) = self._admin.describe_consumer_groups(
            [self._app_id], request_timeout=self._timeout_s
        ).values()
        return [item.group_instance_id or item.member_id for item in future.result().members]

    # -- the steps -------------------------------------------------------------------------------

    async def _begin(self) -> tuple[Rebuild, dict[int, tuple[int, OffsetNote]]]:
        """Mark the state, then see how far the group has come, and delete what was."""
        if not await self._committed():
            raise RebuildError(
                f"the group {self._app_id} has committed nothing on {self._table.topic}, so there is nothing to "
                "count yet: a worker begins with it"
            )
        earlier = earlier_state(
            self._servers,
            self._app_id,
            self._table.name,
            self._partitions,
            timeout_s=self._timeout_s,
        )
        marks = Rebuild(self._table, self._source, earlier, {}, {}, sizes=self._sizes).marks()
        await self._publish(marks)
        self._refuse_members()
        found = await self._committed()
        notes = {
            number: (offset, OffsetNote.decode(text))
            for (_, number), (offset, text) in found.items()
        }
        times = {
            number: note.stream_times[self._table.name]
            for number, (_, note) in notes.items()
            if self._table.name in note.stream_times
        }
        ends = {number: offset for number, (offset, _) in notes.items()}
        rebuild = Rebuild(self._table, self._source, earlier, ends, times, sizes=self._sizes)
        await self._publish(rebuild.clearings())
        return rebuild, notes

    async def _committed(self) -> dict[tuple[str, int], tuple[int, str]]:
        """The group's offsets, once no transaction of a killed worker can change them."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return await self._producer.committed(self._app_id, self._sources)
            except TransactionError as error:
                if error.code != Code.UNSTABLE_OFFSET_COMMIT or time.monotonic() > deadline:
                    raise

    async def _read(self, rebuild: Rebuild, ends: Mapping[int, int], since_ms: int | None) -> int:
        """Count all records up to `ends`; gives how many offsets that were."""
        starts = self._replay.starts(ends, since_ms)
        left = {number for number, start in starts.items() if start < ends[number]}
        for number in starts.keys() - left:
            rebuild.ended(number)
        done, total = 0, sum(ends[number] - starts[number] for number in left)
        self._progress(0, total)
        async for fetch in self._replay.fetches({number: starts[number] for number in left}, ends):
            for batch in await asyncio.to_thread(rebuild.decode, fetch):
                updates: list[Update] = []
                for agent in self._agents:
                    if batch.cls is agent.cls and len(given := batch.for_agent(agent.name)):
                        updates += (await agent.run(given)).updates
                await asyncio.to_thread(rebuild.take, batch, updates)
            if fetch.end >= ends[fetch.partition]:
                rebuild.ended(fetch.partition)
            done += min(fetch.end, ends[fetch.partition]) - fetch.start
            if rebuild.staged_bytes > self._pace.staged_bytes_max:
                await self._checkpoint(rebuild)
            self._progress(done, total)
        await self._checkpoint(rebuild)
        return total

    async def _finish(self, rebuild: Rebuild, notes: Mapping[int, tuple[int, OffsetNote]]) -> None:
        """Close what had been closed, then make it the state, with the offsets that belong to it."""
        rebuild.finish()
        while rebuild.left:
            await self._checkpoint(rebuild)
        table, offsets = self._table, {}
        if table.aligned:
            at = {f"{table.topic}/{number}": offset for number, (offset, _) in notes.items()}
        else:  # what is on its way to the table is in it already
            topic = names.repartition_topic(self._app_id, table.name)
            ends = self._ends.ends([(topic, number) for number in range(self._partitions)])
            at = {f"{topic}/{number}": end for (_, number), end in ends.items()}
            offsets = {here: (end, OffsetNote().encode()) for here, end in ends.items()}
            for number, (offset, note) in notes.items():
                stream_time = rebuild.stream_time(number)
                told = {} if stream_time is None else {table.name: stream_time}
                text = OffsetNote("", {**note.stream_times, **told}).encode()
                offsets[(table.topic, number)] = (offset, text)
        self._refuse_members()
        await self._publish(rebuild.last(at), offsets)

    async def _checkpoint(self, rebuild: Rebuild) -> None:
        changes = await asyncio.to_thread(rebuild.checkpoint, self._store.read)
        await self._publish(changes)
        self._store.write(
            StoreWrite(item.table.name, item.partition, item.puts, item.deletes) for item in changes
        )
        rebuild.apply(changes)

    async def _publish(
        self,
        changes: Sequence[Change],
        offsets: Mapping[tuple[str, int], tuple[int, str]] | None = None,
    ) -> None:
        """One transaction."""
        if not offsets and not any(change.puts or change.deletes for change in changes):
            return  # Kafka ends no transaction that has nothing
        producer = self._producer
        producer.begin()
        counts = await producer.partition_counts([self._changelog])
        checkpoint = Checkpoint({}, changes=list(changes))
        await producer.produce(self._outbox.batches(checkpoint, counts))
        if offsets:
            await producer.send_offsets(Membership(self._app_id, _NO_MEMBER, "", None), offsets)
        await producer.commit()

"""The parts of a running worker, put together on its event loop, and their life from there on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from app.engine import names
from app.engine.processing.agent import AgentRunner
from app.engine.processing.processor import Processor
from app.engine.processing.work import TopicPartition
from app.engine.reading.committed_reader import CommittedReader
from app.engine.reading.restore_progress import RestoreProgress
from app.engine.state.store import StateRefusedError
from app.group import Group
from app.heap import trim_for_ever
from app.kafka.changelogs.restore import ChangelogRestore
from app.kafka.changelogs.standby import Standbys
from app.kafka.fetching.faust_consumer import FaustConsumer
from app.kafka.offsets import PartitionEnds
from app.kafka.processing.holdings import Holdings
from app.kafka.processing.observer import MetricsObserver
from app.kafka.processing.purge import Purge
from app.kafka.processing.runner import Runner
from app.kafka.processing.surroundings import Pace
from app.kafka.transactions.fence import Fence
from app.kafka.transactions.publisher import Publisher
from app.settings import Settings
from app.state.rocksdb_store import RocksDBStore
from app.vitals import Vitals

_PURGE_INTERVAL_S = 30.0
_STANDBY_TIMEOUT_S = 5.0


class Parts:
    """Make it on the loop that they run on, run `tasks`, and `close` it.

    worker_id: under which the worker's producer is known. partition_counts: of all topics. fatal: awaited with
    what nothing can go on after.
    """

    def __init__(
        self,
        settings: Settings,
        bootstrap_servers: str,
        worker_id: str,
        processor: Processor,
        store: RocksDBStore,
        agents: Sequence[AgentRunner],
        consumer: FaustConsumer,
        partition_counts: Mapping[str, int],
        fatal: Callable[[BaseException], Coroutine[Any, Any, None]],
    ) -> None:
        self._settings = settings
        self._servers = bootstrap_servers
        self._processor = processor
        self._store = store
        self._partition_counts = dict(partition_counts)
        self._fatal = fatal
        processor.set_partition_counts(self._partition_counts)
        progress = RestoreProgress(time.monotonic)
        self.runner = self._new_runner(worker_id, agents, consumer, progress)
        self.standbys = Standbys(
            bootstrap_servers,
            settings.app_id,
            store,
            processor.tables_of,
            self._table_partitions,
            timeout_s=_STANDBY_TIMEOUT_S,
            on_ready=lambda: self.holdings.say_able(),
        )
        self.holdings = Holdings(
            self.runner,
            consumer,
            self.standbys,
            Fence(bootstrap_servers, settings.transaction_timeout_ms),
            fatal,
        )
        self.reader = CommittedReader(
            processor, store, cache_bytes_max=settings.read_cache_mb << 20, progress=progress
        )
        self.runner.checkpoints.publication.on_stored = self.reader.stored
        self.runner.checkpoints.on_published = self.reader.published
        self.runner.checkpoints.on_reassigned = self.reader.reassigned
        self.runner.checkpoints.on_fatal = fatal
        self._loop = asyncio.get_running_loop()
        self.reader.on_refused = self._refused
        self._group = Group(
            consumer.place,
            settings,
            bootstrap_servers,
            processor,
            self.reader,
            self._partition_counts,
        )
        self.vitals = Vitals(
            settings,
            self.runner,
            self.standbys,
            progress,
            consumer.stable_end,
            consumer.silent_s,
            self.holdings.waiting,
            consumer.fetch_bytes,
            bootstrap_servers,
        )

    def _new_runner(
        self,
        worker_id: str,
        agents: Sequence[AgentRunner],
        consumer: FaustConsumer,
        progress: RestoreProgress,
    ) -> Runner:
        settings, servers, app_id = self._settings, self._servers, self._settings.app_id
        timeout_s = settings.transaction_timeout_ms / 1000
        ends = PartitionEnds(servers, app_id, timeout_s=timeout_s)
        return Runner(
            self._processor,
            self._store,
            Publisher(
                servers,
                app_id=app_id,
                transactional_id=f"{app_id}-{worker_id}",
                transaction_timeout_ms=settings.transaction_timeout_ms,
                partitions_fixed={
                    table.topic: self._partition_counts[table.topic]
                    for table in self._processor.tables.values()
                    if table.aligned
                },
            ),
            ChangelogRestore(servers, app_id, self._store, progress, timeout_s=2 * timeout_s),
            agents,
            consumer,
            MetricsObserver(names.dead_letter_topic(app_id)),
            Pace(
                checkpoint_interval_ms=settings.checkpoint_interval_ms,
                checkpoint_bytes_max=settings.checkpoint_delta_mb_max << 20,
                idle_partition_ms=settings.idle_partition_ms,
                dead_letter_traceback_bytes_max=settings.dead_letter_traceback_kb_max << 10,
            ),
            first_offsets=partial(self._first_offsets, ends),
            log_starts=ends.starts,
            membership_wait_s=settings.session_timeout_ms / 1000,
        )

    def _first_offsets(
        self, ends: PartitionEnds, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Where to begin partitions of which nothing is committed yet (blocks)."""
        latest, internal = self._settings.read_from == "latest", self._repartition_topics()
        from_end = [here for here in partitions if latest and here[0] not in internal]
        return {**ends.starts(set(partitions) - set(from_end)), **ends.ends(from_end)}

    def _repartition_topics(self) -> set[str]:
        return {
            names.repartition_topic(self._settings.app_id, name) for name in self._processor.tables
        }

    def _table_partitions(self) -> list[TopicPartition]:
        sources = [
            (topic, number)
            for topic in self._processor.topics
            for number in range(self._partition_counts[topic])
        ]
        return self._processor.tables_of(sources)

    def tasks(self) -> Iterable[Coroutine[Any, Any, None]]:
        """What runs for as long as the worker does."""
        for work in (
            self.holdings.run(),
            self._stand_by(),
            self.runner.checkpoints.run(),
            self.vitals.run(),
            trim_for_ever(),
            self._purge(),
        ):
            yield unless_cancelled_by_others(work)

    async def _stand_by(self) -> None:
        try:
            await self.standbys.run()
        except StateRefusedError as error:
            await self._fatal(error)

    def _refused(self, error: StateRefusedError) -> None:
        """A read has met damage, in whichever thread: the worker ends as if a checkpoint had."""
        asyncio.run_coroutine_threadsafe(self._fatal(error), self._loop)

    async def _purge(self) -> None:
        """Delete partial aggregates that have been counted, for ever."""
        purge = Purge(self._servers, self._repartition_topics())
        while True:
            await asyncio.sleep(_PURGE_INTERVAL_S)
            await purge.run(self.runner.positions())

    async def close(self) -> None:
        """Publish what is staged, and give up files, threads and connections."""
        self.holdings.close()
        await self.standbys.close()
        await self.runner.close()
        self._store.close()
        await self._group.close()


async def unless_cancelled_by_others(work: Coroutine[Any, Any, None]) -> None:
    """A library can cancel whoever waits for it. Faust would take that for the end of the worker, and say nothing."""
    try:
        await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # it is meant for us
            raise
        raise RuntimeError(f"{work!r} was cancelled by what it waited for") from error

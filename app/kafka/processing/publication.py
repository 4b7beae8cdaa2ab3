"""Publishes checkpoints through the generations of the group: a rebalance delays what is still this worker's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import Executor

import structlog

from app.engine.language.question import NO_GENERATION
from app.engine.processing.checkpoint import Checkpoint
from app.engine.processing.work import TopicPartition
from app.engine.state.store import Store, StoreWrite
from app.kafka.group.membership import Membership
from app.kafka.processing.surroundings import ConsumerControl
from app.kafka.transactions.publisher import (
    AbortedError,
    EarlierGenerationError,
    Offsets,
    Publisher,
)

log = structlog.get_logger(__name__)


class Publication:
    """Commits a prepared checkpoint to Kafka and then to the store, in the generation that holds at the time.

    wait_s: for how long the next generation is waited for when the group has left the one before. on_stored: called
    with each checkpoint that is in the store, in the thread, before it becomes the state.
    """

    def __init__(
        self,
        publisher: Publisher,
        store: Store,
        consumer: ConsumerControl,
        thread: Executor,
        *,
        wait_s: float,
    ) -> None:
        self._publisher = publisher
        self._store = store
        self._consumer = consumer
        self._thread = thread
        self._wait_s = wait_s
        self._generation = NO_GENERATION
        self._disowned: set[TopicPartition] = set()
        self._news = asyncio.Event()
        self.leaving = False
        self.on_stored: Callable[[Checkpoint], None] = lambda checkpoint: None

    def moved(self, disowned: Collection[TopicPartition]) -> None:
        """There is a new generation; these partitions are others' in it, and must not be published any more."""
        self._disowned |= set(disowned)
        self._news.set()

    def settled(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing is staged any more of what these partitions were before."""
        self._disowned -= set(partitions)

    def leave(self, leaving: bool) -> None:
        """This worker leaves its generation, and there is no next one to wait for."""
        self.leaving = leaving
        self._news.set()

    async def publish(self, checkpoint: Checkpoint, kept: Collection[TopicPartition]) -> int:
        """Make the checkpoint visible, all or nothing; gives the number of bytes that went to the store.

        kept: the partitions that this worker holds. Raises AbortedError when nothing of it holds; any other
        error: this worker must end.
        """
        membership = self._consumer.membership()
        loop = asyncio.get_running_loop()
        while True:
            if not self._disowned.isdisjoint(checkpoint.positions):
                raise AbortedError("some of its partitions have been given to another worker")
            try:
                return await loop.run_in_executor(
                    self._thread, self._commit, checkpoint, membership, tuple(kept)
                )
            except EarlierGenerationError:
                following = await self._next_membership(membership)
                if following is None:
                    raise
                membership = following

    async def _next_membership(self, refused: Membership) -> Membership | None:
        """This worker's place in the next generation, if there is one before long."""
        try:
            async with asyncio.timeout(self._wait_s):
                while not self.leaving:
                    following = self._consumer.membership()
                    if following.generation > refused.generation:
                        return following
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
        return None

    def _commit(
        self, checkpoint: Checkpoint, membership: Membership, kept: Collection[TopicPartition]
    ) -> int:
        """Blocks. In a new generation, first make sure that what was kept through the rebalance is as it was left."""
        if membership.generation != self._generation:
            self._publisher.check_unchanged(kept, membership)
            self._generation = membership.generation
        offsets = self._publisher.publish(checkpoint, membership)
        writes = _store_writes(checkpoint, offsets)
        self._store.write(writes)
        try:
            self.on_stored(checkpoint)
        except Exception:  # the checkpoint holds all the same
            log.exception("checkpoint.not_ready_for_reads")
        return sum(len(value) for write in writes for value in write.puts.values())


def _store_writes(checkpoint: Checkpoint, offsets: Offsets) -> list[StoreWrite]:
    """What a committed checkpoint changes in the store."""
    return [
        StoreWrite(
            change.table.name,
            change.partition,
            change.puts,
            change.deletes,
            offsets.get((change.table.name, change.partition)),
        )
        for change in checkpoint.changes
    ]

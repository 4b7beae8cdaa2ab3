"""Drives the engine inside a Faust worker: fetches to work, work to checkpoints, checkpoints to Kafka.

Three threads share the work: the event loop (Faust, agents), one thread that decodes and groups, and one
that makes and publishes checkpoints. While a checkpoint is under way the next one is already filling.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterable, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from app.codecs.json_columns import warm_up
from app.codecs.record_batch import Fetch
from app.engine.processing.agent import AgentRunner
from app.engine.processing.processor import Processor
from app.engine.processing.work import TopicPartition
from app.engine.state.store import Store
from app.kafka.changelogs.restore import ChangelogRestore, RestoreError
from app.kafka.processing.checkpoints import Checkpoints
from app.kafka.processing.pump import Pump
from app.kafka.processing.surroundings import ConsumerControl, Observer, Pace
from app.kafka.processing.takeover import FirstOffsets, StateAheadError, Takeover, take_over
from app.kafka.processing.threads import give_way
from app.kafka.transactions.error import LATER, TransactionError
from app.kafka.transactions.publisher import Committed, Publisher

log = structlog.get_logger(__name__)

_LOOK_PAUSE_S = 0.1


class Runner:
    """One worker's engine: its partitions come and go, and what is read of them goes from the pump to checkpoints.

    assigned: the group has said which partitions are the worker's. last_error: why their state is not there yet.
    """

    def __init__(
        self,
        processor: Processor,
        store: Store,
        publisher: Publisher,
        restore: ChangelogRestore,
        agents: Iterable[AgentRunner],
        consumer: ConsumerControl,
        observer: Observer,
        pace: Pace,
        *,
        first_offsets: FirstOffsets,
        log_starts: FirstOffsets,
        membership_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.processor = processor
        self._store = store
        self._publisher = publisher
        self._restore = restore
        self._observer = observer
        self._take_over = partial(
            take_over,
            processor=processor,
            restore=restore,
            store=store,
            first_offsets=first_offsets,
            log_starts=log_starts,
        )
        self._stable_wait_s = membership_wait_s
        self.steps = 0
        """Of all take-overs: it grows for as long as something is done for one."""
        self._clock = clock
        self._engine_thread = ThreadPoolExecutor(1, "headrace-engine", initializer=give_way)
        self._restore_thread = ThreadPoolExecutor(1, "headrace-restore")
        self._kernels = self._engine_thread.submit(_compile_kernels)
        columnar_agents = list(agents)
        self.checkpoints = Checkpoints(
            processor,
            store,
            publisher,
            columnar_agents,
            consumer,
            observer,
            pace,
            log_starts=log_starts,
            membership_wait_s=membership_wait_s,
            clock=clock,
        )
        self._pump = Pump(
            processor,
            self.checkpoints,
            columnar_agents,
            consumer,
            observer,
            self._engine_thread,
            traceback_bytes_max=pace.dead_letter_traceback_bytes_max,
            clock=clock,
        )
        self.publication = self.checkpoints.publication
        self.assigned = False
        self.last_error: str | None = None
        self._restored = False

    async def pump(self, fetches: AsyncIterable[Fetch]) -> None:
        """The body of the Faust agent that reads all columnar topics."""
        await self._pump.run(fetches)

    @property
    def warm(self) -> bool:
        """Whether the kernels have been compiled."""
        return self._kernels.done()

    async def warmed_up(self) -> None:
        """Wait until the kernels have been compiled."""
        await asyncio.wrap_future(self._kernels)

    @property
    def restored(self) -> bool:
        """Whether the state of all of the worker's partitions is there."""
        return self._restored and not self.checkpoints.abandoned

    @restored.setter
    def restored(self, restored: bool) -> None:
        self._restored = restored

    async def take_over(self, partitions: Collection[TopicPartition]) -> Takeover:
        """Restore the state of these partitions, while those that are here go on.

        Raises TransactionError, RestoreError or KafkaException while Kafka is away, or while the transaction
        of a killed worker is still open; StateRefusedError.
        """
        # before the kernels are compiled there is no progress, and none is expected
        await self.warmed_up()
        committed = await self._stable_offsets(partitions)
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._restore_thread, partial(self._take_over, partitions, committed)
            )
        except StateAheadError as error:
            if await self._stable_offsets(partitions) == committed:
                raise
            # it was slow, and is not this worker's any more, or not by what was read first
            raise RestoreError("another worker has committed meanwhile") from error

    async def _stable_offsets(self, partitions: Collection[TopicPartition]) -> Committed:
        """The committed offsets, once no open transaction can change them; checkpoints go on between two looks.

        This also fences and finishes what an earlier producer of this worker has left.
        """
        look = partial(self._publisher.committed, partitions, wait=False)
        deadline = self._clock() + self._stable_wait_s
        while True:
            self.steps += 1
            try:
                return await asyncio.get_running_loop().run_in_executor(
                    self.checkpoints.thread, look
                )
            except TransactionError as error:
                if error.code not in LATER or self._clock() > deadline:
                    raise
            await asyncio.sleep(_LOOK_PAUSE_S)

    def add(self, taken: Takeover) -> None:
        """Work on these partitions from now on."""
        self._observer.restored(taken.records, taken.seconds)
        log.info(
            "tables.restored",
            partitions=len(taken.tables),
            records=taken.records,
            seconds=round(taken.seconds, 2),
        )
        self.checkpoints.add(taken.positions)
        self.processor.add(taken.positions, taken.tables, taken.stream_times)

    async def give_up(self, partitions: Collection[TopicPartition]) -> None:
        """Publish what is staged of these partitions, if that is still possible, and forget them."""
        self.processor.close(partitions)
        await self.checkpoints.checkpoint()
        await self.checkpoints.forget(partitions)

    async def drop(self, partitions: Collection[TopicPartition]) -> None:
        """Forget these partitions: others have them, and what is staged of them must not be published."""
        self.processor.close(partitions)
        await self.checkpoints.forget(partitions, rewind=True)

    def positions(self) -> dict[TopicPartition, int]:
        """Where to read on, per owned partition."""
        return dict(self.checkpoints.positions)

    def state_bytes(self) -> int:
        """About how many bytes the store's live data take."""
        return self._store.live_bytes()

    async def close(self) -> None:
        """Publish what is staged, and give up threads and connections."""
        self._publisher.end()
        self._restore.end()
        self.publication.leave(True)
        await self.give_up(list(self.checkpoints.positions))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.checkpoints.thread, self._publisher.close)
        for thread in (self._engine_thread, self._restore_thread):
            thread.shutdown(wait=True, cancel_futures=True)
        self.checkpoints.close()


def _compile_kernels() -> None:
    started = time.monotonic()
    warm_up()
    # What is there now stays: without this, collecting garbage looks at all of it, for a tenth of a second
    gc.collect()
    gc.freeze()
    log.info("kernels.ready", seconds=round(time.monotonic() - started, 2))

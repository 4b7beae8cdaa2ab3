"""Reading changelogs in whole fetches, by a consumer of aiokafka's.

Not by librdkafka, which is faster to write and no faster to run here: its consumer has been seen to end the process, by
https://github.com/confluentinc/librdkafka/issues/5280, when a broker that comes back has no leader for a partition yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as TP
from aiokafka.errors import KafkaError

from app.codecs.record_batch import CorruptRecordBatch, Records, parse
from app.engine.processing.work import TopicPartition
from app.kafka.columnar_topics import columnar
from app.kafka.fetching import transport  # noqa: F401 - whose fetches are whole

_ANSWER_S_MAX = 30.0
"""Beyond its own timeouts; a consumer that does not answer for so long is stuck."""

Answer = TypeVar("Answer")


class ChangelogError(RuntimeError):
    """The changelogs cannot be read now; the message says why."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one fetch of a changelog's partition has: its committed records from `start`, up to before `end`.

    size: in bytes, as it was sent.
    """

    topic: str
    partition: int
    start: int
    end: int
    records: Records
    size: int


class ChangelogReader:
    """Reads partitions, read-committed, each from a given offset on; for one thread, with a connection in another.

    fetch_bytes: of one partition at a time. buffer_bytes: of one fetch of all; another is read ahead. wait_ms: for how
    long the broker holds a fetch back that has nothing. Raises ChangelogError, as its methods do. Close it.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        client_id: str,
        *,
        fetch_bytes: int,
        buffer_bytes: int,
        wait_ms: int,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="headrace-changelogs", daemon=True)
        self._thread.start()
        try:
            self._consumer = self._answer(
                _opened(
                    bootstrap_servers=bootstrap_servers,
                    client_id=client_id,
                    isolation_level="read_committed",
                    enable_auto_commit=False,
                    auto_offset_reset="earliest",
                    max_partition_fetch_bytes=fetch_bytes,
                    fetch_max_bytes=buffer_bytes,
                    fetch_max_wait_ms=wait_ms,
                )
            )
        except BaseException:
            self._end_loop()
            raise

    def follow(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, and no others, from these offsets on."""
        self._answer(self._follow(dict(positions)))

    async def _follow(self, positions: Mapping[TopicPartition, int]) -> None:
        columnar.update(topic for topic, _ in positions)
        self._consumer.assign([TP(*here) for here in positions])
        for here, offset in positions.items():
            self._consumer.seek(TP(*here), offset)

    def leave(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these no further; what was read ahead may still come."""
        self._answer(self._leave([TP(*here) for here in partitions]))

    async def _leave(self, partitions: Iterable[TP]) -> None:
        self._consumer.pause(*partitions)

    def read(self, wait_s: float) -> list[Chunk]:
        """What has come; waits for so long when that is nothing."""
        found = self._answer(self._consumer.getmany(timeout_ms=int(wait_s * 1000)))
        try:
            return [
                Chunk(
                    fetch.topic,
                    fetch.partition,
                    fetch.start,
                    fetch.end,
                    parse(fetch, check_crc=True),
                    len(fetch.raw),
                )
                for fetches in found.values()
                for fetch in fetches
            ]
        except CorruptRecordBatch as error:
            raise ChangelogError(f"bytes were damaged on their way: {error}") from error

    def ends(self) -> dict[TopicPartition, int]:
        """Where the partitions ended at the last answer about each; those without one are left out."""
        return self._answer(self._ends())

    async def _ends(self) -> dict[TopicPartition, int]:
        found = {tp: self._consumer.highwater(tp) for tp in self._consumer.assignment()}
        return {(tp.topic, tp.partition): end for tp, end in found.items() if end is not None}

    def close(self) -> None:
        """Give the connection up, whatever has become of it."""
        with contextlib.suppress(ChangelogError):
            self._answer(_stopped(self._consumer))
        self._end_loop()

    def _serve(self) -> None:
        """Run the loop; nothing waits in it any more when it ends, for Python would end that in another thread."""
        self._loop.run_forever()
        if rest := asyncio.all_tasks(self._loop):
            for task in rest:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(rest, timeout=_ANSWER_S_MAX))
        self._loop.close()

    def _answer(self, question: Coroutine[Any, Any, Answer]) -> Answer:
        try:
            return asyncio.run_coroutine_threadsafe(question, self._loop).result(_ANSWER_S_MAX)
        except (KafkaError, TimeoutError, CancelledError) as error:
            raise ChangelogError(f"Kafka: {error!r}") from error

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_S_MAX)


async def _opened(**options: Any) -> AIOKafkaConsumer:
    """Within the loop that it is to run in."""
    consumer = AIOKafkaConsumer(**options)
    try:
        await consumer.start()
    except (Exception, asyncio.CancelledError):  # GeneratorExit may come from within another loop
        await _stopped(consumer)
        raise
    return consumer


async def _stopped(consumer: AIOKafkaConsumer) -> None:
    """aiokafka, when it stops while a broker is away, lets the end of its own fetches end its caller."""
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        await consumer._client.close()

"""The Faust transport that hands on whole fetches: one message per partition and fetch, unparsed.

It subclasses Faust's aiokafka driver. Topics named in `columnar` deliver a `Fetch`; all others keep the
per-record way, so ordinary Faust agents, tables, replies and leader election work beside it.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import aiokafka.consumer.fetcher as fetcher
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.consumer import ensure_TPset
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from app.codecs.record_batch import Fetch
from app.kafka.columnar_topics import columnar
from app.kafka.fetching import answers
from app.kafka.group import cooperative

_HEADER = struct.Struct(">qi")
_LAST_OFFSET_DELTA = struct.Struct(">i")
_HEADER_BYTES_MIN = 61


FETCHES_MAX = 64
"""In flight, from which on no more are asked for; an answer has up to one of each partition. On a machine so busy that
each waits for its turn, what follows is better left to the broker, which makes fewer and larger ones of it."""


class RawRecords:
    """Stands in for aiokafka's `MemoryRecords`: keeps the bytes, and unpacks them only where that is wanted."""

    def __init__(self, raw: bytes | memoryview) -> None:
        self.raw = raw
        self._unpacked: MemoryRecords | None = None

    @property
    def unpacked(self) -> MemoryRecords:
        """aiokafka's own view of the same bytes."""
        if self._unpacked is None:
            self._unpacked = MemoryRecords(bytes(self.raw))
        return self._unpacked

    def has_next(self) -> bool:
        """Whether the bytes begin with a whole record batch."""
        if len(self.raw) < _HEADER_BYTES_MIN:
            return bool(self.unpacked.has_next())
        return len(self.raw) >= 12 + int(_HEADER.unpack_from(self.raw)[1])

    def size_in_bytes(self) -> int:
        """How many bytes the broker sent."""
        return len(self.raw)


class FetchRecords:
    """Stands in for aiokafka's `PartitionRecords`: an iterator over one single `Fetch`."""

    def __init__(self, tp: Any, raw: bytes | memoryview, aborted: Any, start: int) -> None:
        self._fetch: Fetch | None = None
        self.next_fetch_offset = start
        self._tp = tp
        self._raw: bytes | memoryview | None = raw
        self._aborted = tuple((producer, first) for producer, first in aborted or ())

    def __iter__(self) -> Iterator[Fetch]:
        return self

    def __next__(self) -> Fetch:
        if self._raw is None:
            raise StopIteration
        raw, self._raw = self._raw, None
        start = self.next_fetch_offset
        self.next_fetch_offset = _end_of(raw, start)
        return Fetch(
            self._tp.topic, self._tp.partition, start, self.next_fetch_offset, raw, self._aborted
        )


def _end_of(raw: bytes | memoryview, start: int) -> int:
    """The offset after the last whole record batch."""
    at, end = 0, start
    while at + _HEADER_BYTES_MIN <= len(raw):
        base, length = _HEADER.unpack_from(raw, at)
        if length < _HEADER_BYTES_MIN - 12 or at + 12 + length > len(raw):
            break
        end = base + _LAST_OFFSET_DELTA.unpack_from(raw, at + 23)[0] + 1
        at += 12 + length
    return max(start, end)


_PartitionRecords = fetcher.PartitionRecords


def _partition_records(tp: Any, records: RawRecords, aborted: Any, start: int, *rest: Any) -> Any:
    if tp.topic in columnar:
        return FetchRecords(tp, records.raw, aborted, start)
    return _PartitionRecords(tp, records.unpacked, aborted, start, *rest)


_send = AIOKafkaConnection.send


def _send_or_break(connection: Any, request: Any, expect_response: bool = True) -> Any:
    """aiokafka knows a broken connection by an OSError; uvloop writes to a closed one with a RuntimeError,
    which would end the consumer."""
    try:
        return _send(connection, request, expect_response)
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"connection broken: {error}") from error


class _Clock:
    """Stands in for the module `time` where aiokafka notes when the broker has answered: no jump of the wall clock
    is to look like a silent broker, or hide one."""

    time = monotonic = staticmethod(time.monotonic)


def _install() -> None:
    """Put our own in the place of aiokafka's; fail at start-up if aiokafka has changed its names."""
    for name in ("PartitionRecords", "MemoryRecords", "time"):
        if not hasattr(fetcher, name):
            raise ImportError(
                f"aiokafka.consumer.fetcher has no {name}: this aiokafka is not the pinned version"
            )
    fetcher.PartitionRecords = _partition_records
    fetcher.MemoryRecords = RawRecords
    fetcher.time = _Clock
    AIOKafkaConnection.send = _send_or_break
    answers.install()
    cooperative.install()


_install()


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only, and does not let an idle partition's long poll hold up the busy ones."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        options = self.app.fetch_options
        for name, value in options.items():
            if not hasattr(consumer, name):
                raise ImportError(
                    f"AIOKafkaConsumer has no {name}: this aiokafka is not the pinned version"
                )
            setattr(consumer, name, value)
        return consumer

    async def on_thread_stop(self) -> None:
        """Stop the consumer. While a broker is away, aiokafka lets the end of its own fetches end us too, and
        Faust would wait a minute for a thread that is gone."""
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():  # it is meant for us
                raise

    @property
    def coordinator(self) -> cooperative.Coordinator:
        """This worker's membership of its group."""
        found: cooperative.Coordinator = self._ensure_consumer()._coordinator
        return found

    def rejoin(self) -> None:
        """Have the consumer join its group anew; returns at once."""
        self.thread_loop.call_soon_threadsafe(self.coordinator.request_rejoin)

    async def begin(self, positions: Mapping[TP, int]) -> None:
        """Read these partitions, which have waited, from these offsets on; those that are gone are passed over."""
        await self.call_thread(self._begin, positions)

    async def _begin(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in positions.items():
            if consumer._subscription.is_assigned(tp):
                consumer.seek(tp, offset)
                consumer._subscription.resume(tp)

    async def hold(self, partitions: Iterable[TP]) -> None:
        """Read these partitions no more until they begin again."""
        await self.call_thread(self._hold, partitions)

    async def _hold(self, partitions: Iterable[TP]) -> None:
        consumer = self._ensure_consumer()
        for tp in partitions:
            if consumer._subscription.is_assigned(tp):
                consumer._subscription.pause(tp)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek the ordinary partitions to their committed offsets; columnar ones are where their state is."""
        assigned = self._ensure_consumer().assignment()
        ordinary = [tp for tp in assigned if tp.topic not in columnar]
        if not ordinary:
            return {}
        found: Mapping[TP, int] = await self.call_thread(
            self._ensure_consumer().seek_to_committed, *ordinary
        )
        return found

    def last_answer_ms(self, tp: TP) -> int | None:
        """When (monotonic clock, ms) the broker last answered a fetch of the partition; None: not yet."""
        # not by `last_poll_timestamp`: it fails for a partition that is given up at this very moment
        state = self._state(tp)
        time_ms: int | None = None if state is None else state.timestamp
        return time_ms

    def _state(self, tp: TP) -> Any:
        """What aiokafka knows of a partition; None: it is not this worker's now."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return None if assignment is None else assignment.state_value(tp)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust looks for stalls every few seconds, and the consumer ended if a partition came or went meanwhile.

        Columnar partitions are the watchdog's.
        """
        if tp.topic not in columnar and (state := self._state(tp)) and state.has_valid_position:
            super().verify_event_path(now, tp)

    def highwater(self, tp: TP) -> int | None:
        """The partition's end, committed or not; None before the first fetch, or when it is given up."""
        state = self._state(tp)
        end: int | None = None if state is None else state.highwater
        return end

    def last_stable_offset(self, tp: TP) -> int | None:
        """The offset up to which committed records can be read; None before the first fetch, or when it is given up."""
        state = self._state(tp)
        end: int | None = None if state is None else state.lso
        return end


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Told by aiokafka, in its thread. Where nothing has been stopped, Faust's own way is not gone."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """There is a new assignment."""
        thread = self._thread
        if thread.coordinator.unbroken:
            await thread.consumer.changed(thread.thread_loop, ensure_TPset(assigned))
        else:
            await super().on_partitions_assigned(assigned)


class ReadOffsets(dict[TP, int | None]):
    """Up to where Faust has passed each partition on; it drops without a word what comes from before that.

    Columnar partitions have none. When one is read again from further back, fetches from before may still be on their
    way; by what they had set, Faust would drop what is read again. The processor says whether a fetch follows on.
    """

    def __missing__(self, tp: TP) -> None:
        return None

    def __setitem__(self, tp: TP, offset: int | None) -> None:
        if tp.topic not in columnar:
            super().__setitem__(tp, offset)


class Consumer(driver.Consumer):
    """Faust's consumer, with bounds for what is in flight, and rebalances in which partitions that stay go on."""

    RebalanceListener = RebalanceListener

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._read_offset = ReadOffsets()
        self._in_flight: dict[int, int] = {}
        self._room = asyncio.Event()
        self._changed = asyncio.Event()

    async def changed(self, loop: asyncio.AbstractEventLoop, assigned: set[TP]) -> None:
        """The assignment has changed, and nothing has been stopped for it. From the thread of that loop."""
        await (await self._method_queue.call(loop.create_future(), self._change, assigned))

    async def _change(self, assigned: set[TP]) -> None:
        """What of Faust's own way goes without stopping everything."""
        if self.app.should_stop:
            return
        self.app._update_assignment(assigned)
        self.app.unassigned = not assigned
        self._set_active_tps(assigned)
        self._changed.set()
        await self.app.topics.on_partitions_assigned(assigned)
        await self.app.on_partitions_assigned.send(assigned)

    async def _wait_next_records(
        self,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> Any:
        """Faust naps for a second when there is nothing to read; here the next assignment wakes it."""
        if self.app.client_only or not self.flow_active or self._get_active_partitions():
            return await super()._wait_next_records(timeout)
        self._changed.clear()
        await self.wait_first(self._changed.wait(), timeout=timeout)
        return {}, self._get_active_partitions()

    @property
    def fetch_bytes(self) -> int:
        """Bytes of the fetches that have been handed on and not yet been dealt with."""
        return sum(self._in_flight.values())

    def last_answer_ms(self, tp: TP) -> int | None:
        """When (monotonic clock, ms) the broker last said anything about the partition; None: never, or not owned."""
        return self._thread.last_answer_ms(tp) if tp in self.assignment() else None

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def release(self, fetch: Fetch) -> None:
        """The fetch has been dealt with: its bytes are in flight no more."""
        self._in_flight.pop(id(fetch), None)
        self._room.set()

    def forget(self) -> None:
        """Faust has emptied its queues, and what was in them is never dealt with."""
        self._in_flight.clear()
        self._room.set()

    def resume_flow(self) -> None:
        """Faust has just emptied its queues, after it has recovered tables of its own."""
        super().resume_flow()
        self.forget()

    def on_buffer_full(self, tp: TP) -> None:
        """Columnar partitions are bounded by bytes and fetches, not by Faust's count of messages."""
        if tp.topic not in columnar:
            super().on_buffer_full(tp)

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> Any:
        if self.fetch_bytes < self.app.fetch_bytes_max and len(self._in_flight) < FETCHES_MAX:
            return await super()._getmany(active_partitions, timeout)
        ordinary = {tp for tp in active_partitions or () if tp.topic not in columnar}
        if ordinary:  # they go on; look again soon whether there is room
            return await super()._getmany(ordinary, min(timeout, 0.05))
        self._room.clear()
        await self.wait_first(self._room.wait(), timeout=timeout)
        return {}

    async def rewind(self, positions: dict[TP, int]) -> None:
        """Read these partitions again from these offsets."""
        positions = {tp: offset for tp, offset in positions.items() if tp in self.assignment()}
        if positions:
            await self.seek_wait(positions)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if not isinstance(record, Fetch):
            return super()._to_message(tp, record)
        self._in_flight[id(record)] = len(record.raw)
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record.end - 1,
            time.time(),
            0,
            [],
            None,
            record,
            None,
            0,
            len(record.raw),
            tp,
            generation_id=self.app.consumer_generation_id,
        )


class Transport(driver.Transport):
    """Registered for the URL scheme `headrace`."""

    Consumer: ClassVar[Callable[..., Awaitable[Any]]] = Consumer

"""Kafka's transactional producer for whole record batches, over aiokafka's connections.

librdkafka takes one record per call and knows one epoch per producer; this one sends batches that are already
bytes, and has an epoch per transaction where the cluster knows them (`transaction_protocol.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from app.codecs.record_writer import UnsentBatch
from app.kafka.group.membership import Membership
from app.kafka.transactions import protocol
from app.kafka.transactions.error import LATER, NEVER, Code, TransactionError, worst
from app.kafka.transactions.protocol import NO_TAGS, Call, finalized_feature

_REQUEST_BYTES_MAX = 8 << 20
"""Of one round of batches; a broker takes 100 MiB by default (`socket.request.max.bytes`)."""
_PAUSE_S_MIN, _PAUSE_S_MAX = 0.002, 0.25
_CLOSE_S_MAX = 1.0
_SEQUENCES = 1 << 31
_ALL_REPLICAS = -1


class TransactionalProducer:
    """One transactional id. One thing at a time, but that offsets may be sent while batches are.

    Nothing is ever sent again after a request without an answer: what it asked for may still come to pass.
    Such a producer must be closed; the next one of the same id fences it when it opens.
    """

    def __init__(self, bootstrap_servers: str, transactional_id: str, timeout_ms: int) -> None:
        self._servers = bootstrap_servers
        self._id = transactional_id
        self._timeout_ms = timeout_ms
        self._client: AIOKafkaClient | None = None
        self._epochs = False  # whether each transaction has one of its own
        self._producer_id, self._epoch = -1, -1
        self._coordinators: dict[CoordinationType, int] = {}
        self._sequences: dict[tuple[str, int], int] = {}
        self._added: set[tuple[str, int]] = set()
        self._deadline = 0.0

    @property
    def epoch_per_transaction(self) -> bool:
        """Whether the cluster gives every transaction an epoch of its own (KIP-890)."""
        return self._epochs

    async def open(self) -> None:
        """Connect; fence, and end, whatever an earlier producer of this id has left.

        TransactionError: that was not possible within the timeout.
        """
        self._set_deadline()
        pause_s = _PAUSE_S_MIN
        while True:
            try:
                await self._open()
                return
            except TransactionError as error:
                await self.close()
                if error.code in NEVER or time.monotonic() + pause_s > self._deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)

    async def close(self) -> None:
        """Give up the connections; an open transaction stays open until the next producer opens."""
        client, self._client = self._client, None
        if client is not None:
            # a broker that reads no more would hold up the bytes that are left, and us
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.close(), _CLOSE_S_MAX)

    def begin(self) -> None:
        """Begin a transaction: from now on it has the timeout's time."""
        self._set_deadline()
        self._added.clear()

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each topic has now. TransactionError: one is not there."""
        cluster = self._connected.cluster
        wanted = set(topics)
        for topic in wanted:
            self._connected.add_topic(topic)
        pause_s = _PAUSE_S_MIN
        while missing := [topic for topic in wanted if not cluster.partitions_for_topic(topic)]:
            code = Code.UNKNOWN_TOPIC_OR_PARTITION
            await self._wait(f"Metadata of {', '.join(missing)}", code, pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)
        return {topic: len(cluster.partitions_for_topic(topic)) for topic in wanted}

    async def partition_counts_now(self, topics: Iterable[str]) -> dict[str, int]:
        """The same, as a broker says at this moment; topics of which it says nothing are left out."""
        node = self._connected.get_random_node()
        answer = await self._ask(node, MetadataRequest(list(topics)), MetadataRequest)
        return {topic: len(found) for code, topic, *_, found in answer.topics if code == 0}

    async def produce(self, batches: Iterable[UnsentBatch]) -> dict[tuple[str, int], int]:
        """Send batches, the next ones being made while these are on their way.

        Gives the offset after the last record of each (topic, partition). Raises TransactionError.
        """
        ends: dict[tuple[str, int], int] = {}
        group: dict[tuple[str, int], UnsentBatch] = {}
        sending: asyncio.Task[None] | None = None
        size = 0
        try:
            for batch in batches:
                here = (batch.topic, batch.partition)
                # a request costs far more than a batch of it, so each takes as many as it can
                if here in group or (group and size + len(batch.payload) > _REQUEST_BYTES_MAX):
                    if sending is not None:
                        await sending
                    sending = asyncio.create_task(self._send_round(group, ends))
                    group, size = {}, 0
                group[here] = batch
                size += len(batch.payload)
                await asyncio.sleep(0)  # the answers come in this very thread
            if sending is not None:
                await sending
            if group:
                await self._send_round(group, ends)
        finally:
            if sending is not None and not sending.done():  # something else has failed
                await asyncio.wait([sending])
                sending.exception()
        return ends

    async def send_offsets(
        self, membership: Membership, offsets: Mapping[tuple[str, int], tuple[int, str]]
    ) -> None:
        """Commit (offset, metadata) of each (topic, partition) with the transaction. TransactionError."""
        if not self._epochs:
            await self._call_coordinator(protocol.AddOffsetsToTxn, membership.group)
        topics: dict[str, list[Any]] = defaultdict(list)
        for (topic, partition), (offset, metadata) in offsets.items():
            topics[topic].append((partition, offset, -1, metadata, NO_TAGS))
        cls = protocol.TxnOffsetCommitAndAdd if self._epochs else protocol.TxnOffsetCommit
        call = Call(
            cls,
            self._id,
            membership.group,
            self._producer_id,
            self._epoch,
            membership.generation,
            membership.member,
            membership.instance,
            [(topic, partitions, NO_TAGS) for topic, partitions in topics.items()],
        )
        await self._patiently(cls, call, CoordinationType.GROUP, membership.group)

    async def committed(
        self, group: str, partitions: Iterable[tuple[str, int]], *, wait: bool = True
    ) -> dict[tuple[str, int], tuple[int, str]]:
        """The group's (offset, metadata) of these (topic, partition)s; those without one are left out.

        Waits until no open transaction can change them. TransactionError: not within the timeout, or,
        without `wait`, not now.
        """
        self._set_deadline()
        if not wait:
            self._deadline = time.monotonic()
        topics: dict[str, list[int]] = defaultdict(list)
        for topic, partition in partitions:
            topics[topic].append(partition)
        named = [(topic, numbers, NO_TAGS) for topic, numbers in topics.items()]
        cls = protocol.OffsetFetch
        call = Call(cls, group, named, True)
        answer = await self._patiently(cls, call, CoordinationType.GROUP, group)
        return {
            (topic, partition): (offset, metadata or "")
            for topic, found, _ in answer.topics
            for partition, offset, _, metadata, *_ in found
            if offset >= 0
        }

    async def commit(self) -> None:
        """Make it all visible. TransactionError: it may have committed all the same."""
        await self._end(commit=True)

    async def abort(self) -> None:
        """Nothing of it is to be seen. TransactionError: close this producer, and open another."""
        self._set_deadline()
        await self._end(commit=False)

    # -- requests ----------------------------------------------------------------------------------

    @property
    def _connected(self) -> AIOKafkaClient:
        if self._client is None:
            raise TransactionError("producer", None, "it is closed")
        return self._client

    def _set_deadline(self) -> None:
        self._deadline = time.monotonic() + self._timeout_ms / 1000

    async def _open(self) -> None:
        client = self._client = AIOKafkaClient(
            bootstrap_servers=self._servers,
            client_id=f"headrace-{self._id}",
            request_timeout_ms=self._timeout_ms,
            metadata_max_age_ms=60_000,
        )
        try:
            await client.bootstrap()
        except (TimeoutError, KafkaError, OSError) as error:
            raise TransactionError("Bootstrap", None, str(error)) from error
        node = client.get_random_node()
        if node is None:
            raise TransactionError("Bootstrap", None, "the cluster names no broker")
        call = Call(protocol.ApiVersions, "headrace", "1")
        versions = await self._ask(node, call, protocol.ApiVersions)
        self._epochs = finalized_feature(versions, "transaction.version") >= 2
        self._coordinators.clear()
        self._producer_id, self._epoch = -1, -1
        cls = protocol.InitProducerId
        call = Call(cls, self._id, self._timeout_ms, -1, -1)
        answer = await self._patiently(cls, call, CoordinationType.TRANSACTION, self._id)
        self._new_epoch(answer)

    def _new_epoch(self, answer: Any) -> None:
        self._producer_id, self._epoch = answer.producer_id, answer.producer_epoch
        self._sequences.clear()

    async def _end(self, *, commit: bool) -> None:
        cls = protocol.EndTxnWithEpoch if self._epochs else protocol.EndTxn
        answer = await self._call_coordinator(cls, commit)
        if self._epochs:
            self._new_epoch(answer)

    async def _call_coordinator(self, cls: type[RequestStruct], *fields: Any) -> Any:
        call = Call(cls, self._id, self._producer_id, self._epoch, *fields)
        return await self._patiently(cls, call, CoordinationType.TRANSACTION, self._id)

    async def _patiently(
        self, cls: type[RequestStruct], call: Call, kind: CoordinationType, key: str
    ) -> Any:
        """Ask a coordinator, and again while it says that it cannot do it yet."""
        pause_s = _PAUSE_S_MIN
        while True:
            if kind not in self._coordinators:
                self._coordinators[kind] = await self._find(kind, key)
            node = self._coordinators[kind]
            try:
                answer = await self._ask(node, call, cls, group=ConnectionGroup.COORDINATION)
            except TransactionError:
                self._coordinators.pop(kind, None)  # the next one asks who it is now
                raise
            code = _first_error(answer)
            if code == 0:
                return answer
            if code not in LATER:
                raise TransactionError.of_code(cls.__name__, code)
            if code != Code.CONCURRENT_TRANSACTIONS:
                self._coordinators.pop(kind, None)  # another request may have learnt it too
            await self._wait(cls.__name__, code, pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)

    async def _find(self, kind: CoordinationType, key: str) -> int:
        pause_s = _PAUSE_S_MIN
        while True:
            try:
                return int(await self._connected.coordinator_lookup(kind, key))
            except (TimeoutError, KafkaError, OSError) as error:
                code = getattr(error, "errno", None)
                if code not in LATER:
                    raise TransactionError("FindCoordinator", None, str(error)) from error
            await self._wait("FindCoordinator", code, pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)

    async def _ask(
        self,
        node: int,
        call: Request[Any],
        cls: type,
        group: ConnectionGroup = ConnectionGroup.DEFAULT,
    ) -> Any:
        try:
            return await self._connected.send(node, call, group=group)
        except (TimeoutError, KafkaError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise TransactionError(cls.__name__, None, reason) from error

    async def _wait(self, request: str, code: int, pause_s: float) -> None:
        """Pause before asking again, with fresh metadata. TransactionError: it has taken too long."""
        left_s = self._deadline - time.monotonic()
        if pause_s > left_s:
            raise TransactionError.of_code(request, code, "still so after the timeout")
        await asyncio.sleep(pause_s)
        if code != Code.CONCURRENT_TRANSACTIONS:
            await asyncio.wait([self._connected.force_metadata_update()], timeout=left_s)

    # -- batches -----------------------------------------------------------------------------------

    async def _send_round(
        self, batches: dict[tuple[str, int], UnsentBatch], ends: dict[tuple[str, int], int]
    ) -> None:
        """Send one batch to each of these partitions, until all are taken."""
        left = dict(batches)
        if not self._epochs:
            await self._add_partitions(left)
        pause_s = _PAUSE_S_MIN
        while True:
            by_leader: dict[int, list[UnsentBatch]] = defaultdict(list)
            for here, batch in left.items():
                leader = self._connected.cluster.leader_for_partition(TopicPartition(*here))
                if leader is not None and leader >= 0:
                    by_leader[leader].append(batch)
            answers = await asyncio.gather(
                *(self._produce(leader, group) for leader, group in by_leader.items()),
                return_exceptions=True,  # all have answered or failed before anything else is sent
            )
            code: int = Code.LEADER_NOT_AVAILABLE
            errors: list[BaseException] = []
            for answer in answers:
                if isinstance(answer, BaseException):
                    errors.append(answer)
                    continue
                for topic, partition, found, base_offset, message in answer:
                    if found == 0:
                        batch = left.pop((topic, partition))
                        ends[(topic, partition)] = base_offset + batch.count
                        self._advance(batch)
                    elif found in LATER:
                        code = found
                    else:
                        where = f"{topic}[{partition}]" + (f", {message}" if message else "")
                        errors.append(TransactionError.of_code("Produce", found, where))
            if errors:
                raise worst(errors)
            if not left:
                return
            await self._wait("Produce", code, pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)

    async def _produce(
        self, leader: int, batches: list[UnsentBatch]
    ) -> list[tuple[str, int, int, int, str | None]]:
        """One request; gives (topic, partition, error code, base offset, error message) of each batch."""
        cls = protocol.ProduceAndAdd if self._epochs else protocol.Produce
        topics: dict[str, list[Any]] = defaultdict(list)
        for batch in batches:
            sequence = self._sequences.get((batch.topic, batch.partition), 0)
            data = batch.sealed(self._producer_id, self._epoch, sequence)
            topics[batch.topic].append((batch.partition, data, NO_TAGS))
        call = Call(
            cls,
            self._id,
            _ALL_REPLICAS,
            self._timeout_ms,
            [(topic, partitions, NO_TAGS) for topic, partitions in topics.items()],
        )
        answer = await self._ask(leader, call, cls)
        return [
            (topic, partition, code, base_offset, message)
            for topic, partitions, _ in answer.topics
            for partition, code, base_offset, _, _, _, message, _ in partitions
        ]

    def _advance(self, batch: UnsentBatch) -> None:
        here = (batch.topic, batch.partition)
        self._sequences[here] = (self._sequences.get(here, 0) + batch.count) % _SEQUENCES

    async def _add_partitions(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Make the partitions part of the transaction, where the broker does not do it by itself."""
        news = set(partitions) - self._added
        if not news:
            return
        topics: dict[str, list[int]] = defaultdict(list)
        for topic, partition in news:
            topics[topic].append(partition)
        named = [(topic, numbers, NO_TAGS) for topic, numbers in topics.items()]
        await self._call_coordinator(protocol.AddPartitionsToTxn, named)
        self._added |= news


def _first_error(answer: Any) -> int:
    """The error of an answer, its own or the first one of its partitions, where it comes last; 0: none."""
    own = int(getattr(answer, "error_code", 0))
    topics = getattr(answer, "topics", ())
    codes = [int(code) for _, partitions, _ in topics for *_, code, _ in partitions]
    told = [code for code in codes if code]
    # the reason stands with one partition, and the others were not tried
    return own or min(told, key=lambda code: code == Code.OPERATION_NOT_ATTEMPTED, default=0)

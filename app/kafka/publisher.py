"""One Kafka transaction per checkpoint, fenced by the consumer group's generation."""

from __future__ import annotations

import logging
import struct
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import polars as pl
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from app.engine import names
from app.engine.batch import Emission
from app.engine.checkpoint import Checkpoint, Record
from app.engine.offset_note import OffsetNote
from app.events.event import event_type
from app.kafka.patience import patiently
from app.kafka.topics import RECORD_BYTES_MAX

log = structlog.get_logger(__name__)
_quiet = logging.getLogger("headrace.librdkafka")  # what matters comes as an error from the call
_quiet.setLevel(logging.CRITICAL)

Offsets = dict[tuple[str, int], int]

# Kafka fences a producer also when it has aborted its transaction for being open too long, which a
# broker's restart can bring about: only one that is fenced again and again has a rival.
_FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
_FENCED_MAX = 5
_SETTLE_TIMEOUTS = 4
_SETTLE_PAUSE_S = 0.5
_EXPELLED = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.FENCED_INSTANCE_ID,
)


class AbortedError(Exception):
    """The transaction did not commit; nothing of it is visible."""


class ExpelledError(AbortedError):
    """The group no longer counts this worker as a member of the generation that it believes in."""


class UnknownOutcomeError(Exception):
    """Nobody says whether the transaction has committed; the worker must end, and recover at its next start."""


class FencedError(Exception):
    """Another producer has taken this worker's transactional id; this one must stop."""


@dataclass(frozen=True)
class Membership:
    """This worker's place in the consumer group, as Kafka's transactions check it."""

    group: str
    generation: int
    member: str
    instance: str | None

    def encode(self) -> bytes:
        """The form in which librdkafka takes it (its own serialisation, version 2)."""
        instance = b"\x01" if self.instance is None else b"\x00" + self.instance.encode() + b"\0"
        head = b"CGMDv2:" + struct.pack("<i", self.generation)
        return head + self.group.encode() + b"\0" + self.member.encode() + b"\0" + instance


class Publisher:
    """Publishes checkpoints. All methods block; call them from one thread at a time.

    After any doubt about a commit the producer is thrown away: a new one with the same transactional id
    fences it, and the offsets that the group then has committed tell what became of the transaction.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        app_id: str,
        transactional_id: str,
        transaction_timeout_ms: int,
    ) -> None:
        self._app_id = app_id
        self._timeout_s = transaction_timeout_ms / 1000
        self._servers = bootstrap_servers
        self._transactional_id = transactional_id
        self._options = {
            "bootstrap.servers": bootstrap_servers,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": transaction_timeout_ms,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "message.max.bytes": RECORD_BYTES_MAX,
            "linger.ms": 5,
            "batch.size": 1 << 20,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 64 << 10,
        }
        self._producer: Producer | None = None
        self._reader: Consumer | None = None
        self._run = uuid.uuid4().hex[
            :12
        ]  # so that no earlier process has committed under the same name
        self._count = 0
        self._fenced = 0

    def open(self) -> None:
        """Fence and finish whatever an earlier producer of this id has left. FencedError, KafkaException."""
        self._producer = producer = Producer(self._options, logger=_quiet)
        producer.init_transactions(self._timeout_s)

    def ensure_open(self) -> None:
        """Open if that has not been done, or if the last producer was thrown away."""
        if self._producer is None:
            self.open()

    def close(self) -> None:
        """Give up the connections; an open transaction is aborted."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._producer = None

    def committed(
        self, partitions: Iterable[tuple[str, int]]
    ) -> dict[tuple[str, int], tuple[int, OffsetNote]]:
        """The group's stable committed offsets and their notes; partitions without one are left out."""
        if self._reader is None:
            self._reader = Consumer(
                {
                    "bootstrap.servers": self._servers,
                    "group.id": self._app_id,
                    "isolation.level": "read_committed",
                    "enable.auto.commit": False,
                },
                logger=_quiet,
            )
        wanted = [TopicPartition(topic, partition) for topic, partition in partitions]
        answers = patiently(partial(self._ask, wanted), timeout_s=self._timeout_s) if wanted else []
        return {
            (item.topic, item.partition): (item.offset, OffsetNote.decode(item.metadata or ""))
            for item in answers
            if item.offset >= 0
        }

    def _ask(self, wanted: list[TopicPartition]) -> list[TopicPartition]:
        assert self._reader is not None
        answers: list[TopicPartition] = self._reader.committed(wanted, self._timeout_s)
        for answer in answers:
            if answer.error is not None:
                raise KafkaException(answer.error)
        return answers

    def publish(self, checkpoint: Checkpoint, membership: Membership) -> Offsets:
        """Make the checkpoint visible, all or nothing.

        Gives the next changelog offset per (table, partition) that was written.
        Raises AbortedError when nothing of it holds; FencedError or UnknownOutcomeError when this worker
        must stop.
        """
        if membership.generation < 0 or not membership.member:
            # Kafka would take such a commit for one of a lone consumer, and not check the group at all
            raise ExpelledError("this worker is not a member of its group now")
        self._count += 1
        tag = f"{self._run}/{self._count}"
        offsets: Offsets = {}
        try:
            self._transact(checkpoint, membership, tag, offsets)
            self._fenced = 0
        except KafkaException as error:
            self._settle(error, checkpoint, tag)
        return offsets

    def _transact(
        self, checkpoint: Checkpoint, membership: Membership, tag: str, offsets: Offsets
    ) -> None:
        self.ensure_open()
        assert self._producer is not None
        self._producer.begin_transaction()
        for record in checkpoint.records:
            self._produce(record)
        for emission in checkpoint.emissions:
            self._emit(emission)
        self._write_changelogs(checkpoint, offsets)
        positions = [
            TopicPartition(
                *here, offset, OffsetNote(tag, checkpoint.stream_times.get(here, {})).encode()
            )
            for here, offset in checkpoint.positions.items()
        ]
        self._producer.send_offsets_to_transaction(positions, membership.encode(), self._timeout_s)
        self._producer.commit_transaction(self._timeout_s)

    def _settle(self, error: KafkaException, checkpoint: Checkpoint, tag: str) -> None:
        """Find out what became of a transaction that ended in an error; returns if it has committed."""
        cause: KafkaError = error.args[0]
        log.warning("checkpoint.failed", error=cause.str(), code=cause.name())
        fenced = cause.code() in _FENCED
        self._fenced = self._fenced + 1 if fenced else 0
        if self._fenced > _FENCED_MAX:
            raise FencedError(
                f"another worker uses the transactional id {self._transactional_id!r}; "
                "give each worker its own HEADRACE_WORKER_ID"
            ) from error
        if cause.txn_requires_abort() and self._abort():
            kind = ExpelledError if cause.code() in _EXPELLED else AbortedError
            raise kind(cause.str()) from error
        if not self._has_committed(checkpoint, tag):
            raise AbortedError(cause.str()) from error
        log.info("checkpoint.committed_after_all", tag=tag)

    def _has_committed(self, checkpoint: Checkpoint, tag: str) -> bool:
        """Ask Kafka what became of the transaction, for as long as it takes: nothing may go on before.

        UnknownOutcomeError: there was no answer for so long that the worker has to begin anew.
        """
        deadline = time.monotonic() + _SETTLE_TIMEOUTS * self._timeout_s
        while True:
            self._producer = (
                None  # its state is in doubt: a new one fences it, and ends its transaction
            )
            try:
                self.open()
                found = self.committed(checkpoint.positions)
                break
            except KafkaException as error:
                log.warning("checkpoint.outcome_unknown", error=error.args[0].str())
                if time.monotonic() > deadline:
                    self._producer = None
                    raise UnknownOutcomeError(
                        f"Kafka does not say whether a checkpoint has committed: {error.args[0].str()}"
                    ) from error
            time.sleep(_SETTLE_PAUSE_S)
        return all(
            here in found and found[here][0] == offset and found[here][1].checkpoint == tag
            for here, offset in checkpoint.positions.items()
        )

    def _abort(self) -> bool:
        assert self._producer is not None
        try:
            self._producer.abort_transaction(self._timeout_s)
        except KafkaException as error:
            log.warning("checkpoint.abort_failed", error=error.args[0].str())
            return False
        return True

    def _produce(self, record: Record, on_delivery: Callable[..., None] | None = None) -> None:
        assert self._producer is not None
        options: dict[str, object] = {}
        if record.partition is not None:
            options["partition"] = record.partition
        if record.timestamp is not None:
            options["timestamp"] = max(record.timestamp, 1)
        if on_delivery is not None:
            options["on_delivery"] = on_delivery
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    headers=list(record.headers) or None,
                    **options,
                )
                return
            except BufferError:
                self._producer.poll(0.05)

    def _emit(self, emission: Emission) -> None:
        """Produce derived events as CloudEvents in binary mode."""
        assert self._producer is not None
        event = event_type(emission.cls)
        common = [
            ("ce_specversion", b"1.0"),
            ("ce_type", event.name.encode()),
            ("ce_source", f"{self._app_id}/{emission.source}".encode()),
            ("content-type", b"application/json"),
        ]
        count = len(emission.frame)
        keys = emission.frame[event.key].cast(pl.String).to_list() if event.key else [None] * count
        values = emission.frame.write_ndjson().encode().split(b"\n")
        ids = emission.ids.cast(pl.Binary).to_list()
        stamps = emission.times.clip(lower_bound=1).to_list()  # Kafka has no times before 1970
        produce, poll, topic = self._producer.produce, self._producer.poll, event.topic
        for key, value, identity, stamp in zip(keys, values, ids, stamps, strict=False):
            headers = [("ce_id", identity), *common]
            while True:
                try:
                    produce(topic, value, key, headers=headers, timestamp=stamp)
                    break
                except BufferError:
                    poll(0.05)

    def _write_changelogs(self, checkpoint: Checkpoint, offsets: Offsets) -> None:
        def delivered(key: tuple[str, int]) -> Callable[[KafkaError | None, object], None]:
            def note(error: KafkaError | None, message: object) -> None:
                if error is None:  # otherwise the commit fails
                    offsets[key] = max(offsets.get(key, 0), message.offset() + 1)  # type: ignore[attr-defined]

            return note

        for change in checkpoint.changes:
            topic = names.changelog_topic(self._app_id, change.table.name)
            note = delivered((change.table.name, change.partition))
            entries: Mapping[bytes, bytes | None] = {**dict.fromkeys(change.deletes), **change.puts}
            for key, value in entries.items():
                self._produce(Record(topic, key, value, partition=change.partition), note)

"""One Kafka transaction per checkpoint, fenced by the consumer group's generation."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar, cast

import structlog

from app.engine import names
from app.engine.processing.checkpoint import Checkpoint
from app.engine.processing.offset_note import OffsetNote
from app.kafka.group.membership import Membership
from app.kafka.topics import PartitionsChangedError
from app.kafka.transactions.error import LATER, Code, TransactionError, worst
from app.kafka.transactions.outbox import Outbox
from app.kafka.transactions.producer import TransactionalProducer

log = structlog.get_logger(__name__)

Offsets = dict[tuple[str, int], int]
Committed = dict[tuple[str, int], tuple[int, OffsetNote]]
"""Per (topic, partition): the next offset, and what is committed beside it."""
Answer = TypeVar("Answer")

# Kafka fences a producer also when it has aborted its transaction for being open too long, which a
# broker's restart can bring about: only one that is fenced again and again has a rival.
_FENCED = (Code.PRODUCER_FENCED, Code.INVALID_PRODUCER_EPOCH)
_FENCED_MAX = 5
_SETTLE_TIMEOUTS = 4
_SETTLE_PAUSE_S = 0.5
_EXPELLED = (Code.UNKNOWN_MEMBER_ID, Code.FENCED_INSTANCE_ID)


class AbortedError(Exception):
    """The transaction did not commit; nothing of it is visible."""


class ExpelledError(AbortedError):
    """The group no longer counts this worker as a member of the generation that it believes in."""


class UnknownOutcomeError(Exception):
    """Nobody says whether the transaction has committed; the worker must end, and recover at its next start."""


class EarlierGenerationError(ExpelledError):
    """The group has gone on to its next generation; this worker may still have its partitions in that."""


class ChangedHandsError(Exception):
    """Somebody else has committed offsets of partitions that this worker has kept; it must start anew."""


class FencedError(Exception):
    """Another producer takes this worker's transactional id again and again; this one must stop."""


class Publisher:
    """Publishes checkpoints. All methods block; call them from one thread, which runs no event loop.

    After any doubt about a commit the producer is thrown away: a new one with the same transactional id
    fences it, and the offsets that the group then has committed tell what became of the transaction.

    partitions_fixed: topics whose number of partitions must stay this one, since tables have their keys where these
    have them; nothing is committed that was read after it has changed.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        app_id: str,
        transactional_id: str,
        transaction_timeout_ms: int,
        partitions_fixed: Mapping[str, int] | None = None,
    ) -> None:
        self._partitions_fixed = dict(partitions_fixed or {})
        self._app_id = app_id
        self._timeout_ms = transaction_timeout_ms
        self._timeout_s = transaction_timeout_ms / 1000
        self._servers = bootstrap_servers
        self._transactional_id = transactional_id
        self._outbox = Outbox(app_id)
        self._loop: asyncio.Runner | None = None
        self._producer: TransactionalProducer | None = None
        # so that no earlier process has committed under the same name
        self._run_name = uuid.uuid4().hex[:12]
        self._count = 0
        self._fenced = 0
        self._known: dict[
            tuple[str, int], tuple[int, str]
        ] = {}  # offset, and name of the checkpoint
        self._ending = threading.Event()

    def open(self) -> None:
        """Fence and finish whatever an earlier producer of this id has left. TransactionError."""
        self._drop()
        producer = TransactionalProducer(self._servers, self._transactional_id, self._timeout_ms)
        self._run(producer.open())
        self._producer = producer

    def ensure_open(self) -> None:
        """Open if that has not been done, or if the last producer was thrown away."""
        if self._producer is None:
            self.open()

    def end(self) -> None:
        """The worker ends: wait no longer for a cluster that does not answer. From any thread."""
        self._ending.set()

    def close(self) -> None:
        """Give up the connections; an open transaction ends with its timeout, or with the next producer."""
        self._drop()
        self._outbox.close()
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            self._run(producer.close())

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        if self._loop is None:
            self._loop = asyncio.Runner()
        return self._loop.run(work)

    def committed(self, partitions: Iterable[tuple[str, int]], *, wait: bool = True) -> Committed:
        """The group's stable committed offsets and their notes; partitions without one are left out.

        TransactionError: there was no answer within the timeout, or, without `wait`, there is none now.
        """
        self.ensure_open()
        wanted = list(partitions)
        committed = self._fetch(wanted, wait=wait)
        for here in wanted:
            self._known.pop(here, None)
        self._known.update(
            (here, (offset, note.checkpoint)) for here, (offset, note) in committed.items()
        )
        return committed

    def check_unchanged(
        self, partitions: Iterable[tuple[str, int]], membership: Membership
    ) -> None:
        """Make sure that nobody else has committed any of these since this worker did, or took them over.

        ChangedHandsError: somebody has. ExpelledError: somebody has, and by right: this worker is no member of that
        generation any more. AbortedError: there was no answer.
        """
        wanted = list(partitions)
        try:
            self.ensure_open()
            found = self._fetch(wanted)
        except TransactionError as error:
            raise AbortedError(str(error)) from error
        for here in wanted:
            item = found.get(here)
            now = None if item is None else (item[0], item[1].checkpoint)
            if now != self._known.get(here):
                self._check_member(membership, here)
                raise ChangedHandsError(
                    f"{here}: {now} is committed, not {self._known.get(here)}, although this worker has kept it"
                )

    def _check_member(self, membership: Membership, here: tuple[str, int]) -> None:
        """Begin to commit something, never to end it: the group refuses who is no member. AbortedError."""
        try:
            self._open_producer.begin()
            self._run(self._open_producer.send_offsets(membership, {here: (0, "")}))
        except TransactionError as error:
            raise self._aborted(error) from error
        if not self._abort():
            self._drop()

    def _fetch(self, partitions: Iterable[tuple[str, int]], *, wait: bool = True) -> Committed:
        found = self._run(self._open_producer.committed(self._app_id, partitions, wait=wait))
        return {
            here: (offset, OffsetNote.decode(metadata))
            for here, (offset, metadata) in found.items()
        }

    def publish(self, checkpoint: Checkpoint, membership: Membership) -> Offsets:
        """Make the checkpoint visible, all or nothing.

        Gives the next changelog offset per (table, partition) that was written.
        Raises AbortedError when nothing of it holds; FencedError or UnknownOutcomeError when this worker
        must stop; PartitionsChangedError when a topic's number of partitions has changed.
        """
        if membership.generation < 0 or not membership.member:
            # Kafka would take such a commit for one of a lone consumer, and not check the group at all
            raise ExpelledError("this worker is not a member of its group now")
        assert checkpoint.positions, "the outcome is found out by the offsets"
        self._count += 1
        tag = f"{self._run_name}/{self._count}"
        try:
            self.ensure_open()
            ends = self._run(self._send(self._open_producer, checkpoint, membership, tag))
        except TransactionError as error:
            raise self._aborted(error) from error
        except PartitionsChangedError:
            self._abort()
            raise
        try:
            self._run(self._open_producer.commit())
        except TransactionError as error:
            self._settle(error, checkpoint, tag)
        self._fenced = 0
        self._known.update((here, (offset, tag)) for here, offset in checkpoint.positions.items())
        return {
            (change.table.name, change.partition): ends[
                (names.changelog_topic(self._app_id, change.table.name), change.partition)
            ]
            for change in checkpoint.changes
        }

    @property
    def _open_producer(self) -> TransactionalProducer:
        assert self._producer is not None
        return self._producer

    async def _send(
        self,
        producer: TransactionalProducer,
        checkpoint: Checkpoint,
        membership: Membership,
        tag: str,
    ) -> Offsets:
        """All but the commit; gives the next offset of each (topic, partition) that was written."""
        producer.begin()
        counts = await producer.partition_counts(self._outbox.topics(checkpoint))
        notes = {
            here: (offset, OffsetNote(tag, checkpoint.stream_times.get(here, {})).encode())
            for here, offset in checkpoint.positions.items()
        }
        fixed, offsets, ends = await asyncio.gather(
            self._check_partitions(producer),
            producer.send_offsets(membership, notes),
            producer.produce(self._outbox.batches(checkpoint, counts)),
            return_exceptions=True,  # both have ended before anything else is done
        )
        answers = (fixed, offsets, ends)
        if errors := [item for item in answers if isinstance(item, BaseException)]:
            raise worst(errors)
        return cast(Offsets, ends)

    async def _check_partitions(self, producer: TransactionalProducer) -> None:
        """Asked after the events were read: none of them can come of a number that is not yet known here."""
        if not self._partitions_fixed:
            return
        now = await producer.partition_counts_now(self._partitions_fixed)
        for topic, count in self._partitions_fixed.items():
            if now.get(topic, count) != count:
                raise PartitionsChangedError(
                    f"topic {topic} has {now[topic]} partitions now, and had {count}: its tables whose key is the "
                    "topic's key would find their keys in other partitions than before; give them new names, under "
                    "which they count from then on"
                )

    def _aborted(self, error: TransactionError) -> AbortedError:
        """End a transaction whose commit was never asked for; the error to raise. FencedError."""
        self._note(error)
        # Without an answer, something may still be on its way: the next producer fences it. Where transactions
        # share an epoch, the broker's sequence numbers may by now be others than ours.
        doubt = error.code is None or not (self._producer and self._producer.epoch_per_transaction)
        if doubt or not self._abort():
            self._drop()
        if error.code == Code.ILLEGAL_GENERATION:
            return EarlierGenerationError(str(error))
        return (ExpelledError if error.code in _EXPELLED else AbortedError)(str(error))

    def _settle(self, error: TransactionError, checkpoint: Checkpoint, tag: str) -> None:
        """Find out what became of a transaction whose commit failed; returns if it has committed."""
        self._note(error)
        if not self._has_committed(checkpoint, tag):
            raise AbortedError(str(error)) from error
        log.info("checkpoint.committed_after_all", tag=tag)

    def _note(self, error: TransactionError) -> None:
        if error.code == Code.ILLEGAL_GENERATION:  # there is a new one: it is published in that
            log.info("checkpoint.of_earlier_generation", error=str(error))
        else:
            log.warning("checkpoint.failed", error=str(error))
        self._fenced = self._fenced + 1 if error.code in _FENCED else 0
        if self._fenced > _FENCED_MAX:
            raise FencedError(
                f"the transactional id {self._transactional_id!r} has been fenced {self._fenced} times in a row: "
                "another worker uses it (give each its own HEADRACE_WORKER_ID), or checkpoints take longer than "
                "HEADRACE_TRANSACTION_TIMEOUT_MS"
            ) from error

    def _has_committed(self, checkpoint: Checkpoint, tag: str) -> bool:
        """Ask Kafka what became of the transaction, for as long as it takes: nothing may go on before.

        A cluster that is away, or not yet itself again, is waited for: the next start could only ask the same.
        If it is there all the while, the watchdog ends the worker. UnknownOutcomeError: its answers do not tell,
        or the worker ends meanwhile.
        """
        deadline = time.monotonic() + _SETTLE_TIMEOUTS * self._timeout_s
        while True:
            try:
                self.open()  # its state is in doubt: a new one fences it, and ends its transaction
                # what another worker may have committed is not what this one knows of
                found = self._fetch(checkpoint.positions)
                break
            except TransactionError as error:
                log.warning("checkpoint.outcome_unknown", error=str(error))
                if error.code is None or error.code in LATER:
                    deadline = time.monotonic() + _SETTLE_TIMEOUTS * self._timeout_s
                if time.monotonic() > deadline or self._ending.is_set():
                    self._drop()
                    raise UnknownOutcomeError(
                        f"Kafka does not say whether a checkpoint has committed: {error}"
                    ) from error
            time.sleep(_SETTLE_PAUSE_S)
        return all(
            here in found and found[here][0] == offset and found[here][1].checkpoint == tag
            for here, offset in checkpoint.positions.items()
        )

    def _abort(self) -> bool:
        if self._producer is None:
            return False
        try:
            self._run(self._producer.abort())
        except TransactionError as error:
            log.warning("checkpoint.abort_failed", error=str(error))
            return False
        return True

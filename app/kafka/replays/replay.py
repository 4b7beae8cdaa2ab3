"""Puts dead letters back into their topics, each of them once.

A transaction holds replayed records and the *receipts* that say which dead letters they are. A replay first opens
the one transactional id there is for it, which ends what an earlier one has left and lets no other go on beside it;
then it reads the receipts, and takes only what has none. So it may die at any moment and be started again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from confluent_kafka import KafkaException

from app.engine import names
from app.engine.processing.checkpoint import Checkpoint, Record
from app.engine.processing.receipts import Writer
from app.engine.processing.replay import DeadLetter
from app.kafka.replays.dead_letters import DeadLetters
from app.kafka.topics import ANY_TIME, TopicNeed, ensure_topics
from app.kafka.transactions.error import Code, TransactionError
from app.kafka.transactions.outbox import Outbox
from app.kafka.transactions.producer import TransactionalProducer

_LETTERS_MAX = 1000
_BYTES_MAX = 4 << 20
"""Of one transaction, or of one letter that is larger."""
_ATTEMPTS_MAX = 5
_PAUSE_S = 1.0
_FENCED = (Code.PRODUCER_FENCED, Code.INVALID_PRODUCER_EPOCH)


class ReplayError(RuntimeError):
    """The replay cannot go on; what it has done holds, and the next one begins behind it."""


class Replay:
    """One replay of an application's dead letters, as they are when it is made. KafkaException.

    wanted: whether one is to be replayed.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        app_id: str,
        wanted: Callable[[DeadLetter], bool],
        *,
        transaction_timeout_ms: int,
        topic_replication: int,
    ) -> None:
        self._servers = bootstrap_servers
        self._app_id = app_id
        self._wanted = wanted
        self._replication = topic_replication
        self._on_progress: Callable[[int], None] = lambda count: None
        self._receipts_topic = names.replays_topic(app_id)
        self._producer = TransactionalProducer(
            bootstrap_servers, f"{app_id}-replay", transaction_timeout_ms
        )
        self._outbox = Outbox(app_id)
        self._letters = DeadLetters(bootstrap_servers, app_id)
        self._in_doubt: list[DeadLetter] = []
        self._failures = 0
        self.replayed = 0

    def left(self) -> Iterator[DeadLetter]:
        """The dead letters that have not been replayed, as far as is known; blocks."""
        return self._letters.without(self._letters.receipts())

    def run(self, on_progress: Callable[[int], None]) -> None:
        """Replay those that are wanted; blocks. on_progress: told how many have been. ReplayError."""
        self._on_progress = on_progress
        asyncio.run(self._run())

    async def _run(self) -> None:
        # kept for ever, and small: a range of offsets for a thousand letters
        config = {"retention.ms": "-1", **ANY_TIME}
        need = TopicNeed(self._receipts_topic, partitions=1, config=config)
        ensure_topics(self._servers, [need], partitions=1, replication=self._replication)
        try:
            while not await self._attempted():
                pass
        except asyncio.CancelledError:
            with contextlib.suppress(TransactionError):
                await self._producer.open()  # it ends what is open, for which readers would wait
            raise
        finally:
            await self._producer.close()

    async def _attempted(self) -> bool:
        """Whether all is done. ReplayError: it is of no use to try again."""
        try:
            await self._attempt()
        except (TransactionError, KafkaException) as error:
            self._failures += 1
            if getattr(error, "code", None) in _FENCED:
                raise ReplayError(
                    "another replay has begun, or Kafka has ended this one's transaction; "
                    "start it again for what is left"
                ) from error
            if self._failures == _ATTEMPTS_MAX:
                raise ReplayError(f"{error}; start it again for what is left") from error
            await self._producer.close()
            await asyncio.sleep(_PAUSE_S)
            return False
        return True

    async def _attempt(self) -> None:
        await self._producer.open()
        receipts = self._letters.receipts()  # also of what an earlier attempt has left in doubt
        self._count(
            letter for letter in self._in_doubt if receipts.has(letter.partition, letter.offset)
        )
        self._in_doubt = []
        writer, letters, size = Writer(receipts.topic_id), [], 0
        for letter in self._letters.without(receipts):
            if not self._wanted(letter):
                writer.leave(letter.partition)
                continue
            writer.take(letter.partition, letter.offset)
            letters.append(letter)
            size += letter.size
            if len(letters) == _LETTERS_MAX or size >= _BYTES_MAX:
                await self._publish(letters, writer)
                writer, letters, size = Writer(receipts.topic_id), [], 0
        if letters:
            await self._publish(letters, writer)

    async def _publish(self, letters: list[DeadLetter], writer: Writer) -> None:
        """One transaction. TransactionError: the next attempt learns whether it has committed."""
        producer = self._producer
        producer.begin()
        counts = await producer.partition_counts(
            {self._receipts_topic, *(letter.topic for letter in letters)}
        )
        records = [letter.replayed(self._app_id, counts[letter.topic]) for letter in letters]
        records += [
            Record(self._receipts_topic, None, msgspec.json.encode(receipt))
            for receipt in writer.receipts()
        ]
        await producer.produce(self._outbox.batches(Checkpoint({}, records), counts))
        self._in_doubt = letters
        await producer.commit()
        self._in_doubt = []
        self._failures = 0
        self._count(letters)

    def _count(self, letters: Iterable[Any]) -> None:
        self.replayed += sum(1 for _ in letters)
        self._on_progress(self.replayed)

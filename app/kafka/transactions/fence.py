"""Ends what workers that are gone have left open, so that nobody has to wait until Kafka does."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import structlog

from app.kafka.transactions.error import TransactionError
from app.kafka.transactions.producer import TransactionalProducer

log = structlog.get_logger(__name__)


class Fence:
    """Fences the producers of workers that the group has given up, as their own next start would.

    Kafka aborts the open transaction of a killed worker only at its timeout, and until then nobody knows which
    offsets it has committed. A commit that Kafka has already taken stands. One that lives after all could commit
    nothing more without the group, and opens a new producer when it is a member again.
    """

    def __init__(self, bootstrap_servers: str, timeout_ms: int) -> None:
        self._servers = bootstrap_servers
        self._timeout_ms = timeout_ms
        self._fenced: frozenset[str] = frozenset()

    def follow(self, departed: Collection[str]) -> None:
        """These workers are gone now: one that was, and is back, will have to be fenced again."""
        self._fenced &= frozenset(departed)

    async def keep_out(self, departed: Collection[str]) -> None:
        """Fence the producers of these transactional ids, each once until it has been back."""
        await asyncio.gather(*map(self._fence, set(departed) - self._fenced))

    async def _fence(self, name: str) -> None:
        producer = TransactionalProducer(self._servers, name, self._timeout_ms)
        try:
            await producer.open()
        except TransactionError as error:  # its transaction ends all the same, at its timeout
            log.warning("worker.not_fenced", worker=name, reason=str(error))
        else:
            log.info("worker.fenced", worker=name)
            self._fenced |= {name}
        finally:
            await producer.close()

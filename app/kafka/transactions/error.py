"""What can go wrong in a transaction, by Kafka's error codes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from aiokafka.errors import for_code


class Code(IntEnum):
    """Those of Kafka's error codes that mean something to a transaction."""

    UNKNOWN_TOPIC_OR_PARTITION = 3
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER_OR_FOLLOWER = 6
    COORDINATOR_LOAD_IN_PROGRESS = 14
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    NOT_ENOUGH_REPLICAS = 19
    ILLEGAL_GENERATION = 22
    UNKNOWN_MEMBER_ID = 25
    REBALANCE_IN_PROGRESS = 27
    INVALID_PRODUCER_EPOCH = 47
    INVALID_TRANSACTION_TIMEOUT = 50
    CONCURRENT_TRANSACTIONS = 51
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
    OPERATION_NOT_ATTEMPTED = 55
    KAFKA_STORAGE_ERROR = 56
    FENCED_LEADER_EPOCH = 74
    UNKNOWN_LEADER_EPOCH = 75
    FENCED_INSTANCE_ID = 82
    UNSTABLE_OFFSET_COMMIT = 88
    PRODUCER_FENCED = 90
    TRANSACTION_ABORTABLE = 120


LATER = {
    Code.UNKNOWN_TOPIC_OR_PARTITION,
    Code.LEADER_NOT_AVAILABLE,
    Code.NOT_LEADER_OR_FOLLOWER,
    Code.COORDINATOR_LOAD_IN_PROGRESS,
    Code.COORDINATOR_NOT_AVAILABLE,
    Code.NOT_COORDINATOR,
    Code.NOT_ENOUGH_REPLICAS,
    Code.CONCURRENT_TRANSACTIONS,
    Code.KAFKA_STORAGE_ERROR,
    Code.FENCED_LEADER_EPOCH,
    Code.UNKNOWN_LEADER_EPOCH,
    Code.UNSTABLE_OFFSET_COMMIT,
}
"""With these the broker has done nothing of what was asked, and may do it later."""

NEVER = {Code.INVALID_TRANSACTION_TIMEOUT, Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED}
"""With these it is of no use to ask again."""


class TransactionError(Exception):
    """A request of a transaction has failed. code: Kafka's; None: there was no answer, so who knows."""

    def __init__(self, request: str, code: int | None, reason: str) -> None:
        super().__init__(f"{request}: {reason}")
        self.code = code

    @classmethod
    def of_code(cls, request: str, code: int, message: str | None = None) -> TransactionError:
        """The error that an answer holds."""
        known = {int(item): item.name for item in Code}
        name = known.get(code) or getattr(for_code(code), "message", "error")
        return cls(request, code, f"{name} ({code})" + (f": {message}" if message else ""))


def worst(errors: Sequence[BaseException]) -> BaseException:
    """The one to go by: a bug, then a request without an answer, then what a broker has refused."""

    def rank(error: BaseException) -> int:
        if not isinstance(error, TransactionError):
            return 0
        return 1 if error.code is None else 2

    return min(errors, key=rank)

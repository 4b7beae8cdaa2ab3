"""This worker's place in its consumer group."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Membership:
    """This worker's place in the consumer group, by which Kafka fences a transaction's offsets."""

    group: str
    generation: int
    member: str
    instance: str | None

"""Which topics an application needs, and making those that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from app.engine import names
from app.engine.language.table import Table
from app.engine.state.store import STALE_AFTER_S, StateRefusedError
from app.events.catalogue import Catalogue

log = structlog.get_logger(__name__)

_TIMEOUT_S = 30
CHANGELOG_CONFIG: Mapping[str, str] = {
    "cleanup.policy": "compact",
    # The segment that Kafka writes to is not compacted: it must stay small against the state.
    "segment.ms": "60000",
    "segment.bytes": str(32 << 20),
    # At most so much of what is compacted may be waste, before it is compacted again.
    "min.cleanable.dirty.ratio": "0.3",
    # Each checkpoint leaves tombstones. Who is away for longer than half of this replays everything.
    "delete.retention.ms": str(2 * STALE_AFTER_S * 1000),
}
"""With these a changelog stays below three times its state."""
RECORD_BYTES_MAX = 16 << 20
"""The largest record on a topic that Headrace makes: one row of a table can have many long texts."""


ANY_TIME = {"message.timestamp.after.max.ms": str((1 << 63) - 1)}
"""Kafka refuses records that are more than an hour ahead of its own clock. In events their own time decides; in
all else our clock may be wrong, and that is no reason to stand still."""


class TopicError(RuntimeError):
    """A topic is not as the application needs it; the message says what to do."""


class PartitionsChangedError(StateRefusedError):
    """A topic has another number of partitions than the state of a table that depends on it."""


@dataclass(frozen=True)
class TopicNeed:
    """A topic that must be there.

    like: the topic whose number of partitions it is made with, and must have, unless it `may_differ` later.
    partitions: to make it with; None: the default.
    """

    name: str
    like: str | None = None
    may_differ: bool = False
    partitions: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)


def needs(app_id: str, catalogue: Catalogue, tables: Iterable[Table]) -> list[TopicNeed]:
    """All topics of an application: events first, then those that take their size from them."""
    roomy = {"max.message.bytes": str(RECORD_BYTES_MAX), **ANY_TIME}
    wanted = [TopicNeed(topic, config=roomy) for topic in catalogue.topics()]
    wanted.append(TopicNeed(names.dead_letter_topic(app_id), config=roomy))
    for table in tables:
        wanted.append(TopicNeed(names.late_topic(app_id, table.name), config=roomy))
        placed = table.topic
        if not table.aligned:
            # never deleted by age: what is not yet counted must not be lost; read records are deleted by us,
            # which frees whole segments, so these must be small
            segments = {"segment.bytes": str(2 * RECORD_BYTES_MAX)}
            keep = {"retention.ms": "-1", "retention.bytes": "-1", **segments, **roomy}
            placed = names.repartition_topic(app_id, table.name)
            # its keys stay where they are when the source gets more partitions
            wanted.append(TopicNeed(placed, table.topic, may_differ=True, config=keep))
        changelog = names.changelog_topic(app_id, table.name)
        wanted.append(TopicNeed(changelog, placed, config={**CHANGELOG_CONFIG, **roomy}))
    return wanted


def ensure_topics(
    bootstrap_servers: str, wanted: Iterable[TopicNeed], *, partitions: int, replication: int
) -> dict[str, int]:
    """Make the topics that are missing; give the number of partitions of each.

    Raises TopicError when one cannot be made, PartitionsChangedError when it does not fit the one that it must be
    like.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        found = {
            name: len(item.partitions)
            for name, item in admin.list_topics(timeout=_TIMEOUT_S).topics.items()
        }
    except KafkaException as error:
        raise TopicError(
            f"no answer from Kafka at {bootstrap_servers}: {error.args[0].str()}; is HEADRACE_BROKER right?"
        ) from error
    counts: dict[str, int] = {}
    missing: list[NewTopic] = []
    for need in wanted:
        if need.name in counts:  # several ordinary agents may read one topic
            continue
        count = counts[need.like] if need.like else need.partitions or partitions
        counts[need.name] = found.get(need.name, count)
        if need.name not in found:
            missing.append(NewTopic(need.name, count, replication, config=dict(need.config)))
        elif need.like and found[need.name] != count and not need.may_differ:
            raise PartitionsChangedError(
                f"topic {need.like} has {count} partitions, and {need.name}, which holds the state of a table on it, "
                f"has {found[need.name]}: the number was changed under the table, so its keys are in other partitions "
                "than before; give the table a new name, under which it counts from then on"
            )
    if missing:
        _create(admin, missing)
    return counts


def _create(admin: AdminClient, missing: list[NewTopic]) -> None:
    for name, future in admin.create_topics(missing, operation_timeout=_TIMEOUT_S).items():
        try:
            future.result()
        except KafkaException as error:
            if (
                error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS
            ):  # another worker was quicker
                raise TopicError(
                    f"topic {name} could not be created: {error.args[0].str()}"
                ) from error
    log.info(
        "topics.created", count=len(missing), topics=", ".join(topic.topic for topic in missing)
    )

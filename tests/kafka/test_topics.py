"""How topics are made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.engine.aggregates import count
from app.engine.language.table import Table
from app.engine.windows import tumbling
from app.events import Event
from app.events.catalogue import Catalogue
from app.kafka.topics import ANY_TIME, TopicNeed, ensure_topics, needs


class Measured(Event, type="test.topic_measured", topic="topic-measures", key="sensor"):
    """A measure of a sensor."""

    sensor: str
    place: str


def test_no_clock_that_is_ahead_makes_kafka_refuse_a_record() -> None:
    """Neither an event's own time nor that of a worker's records; a cluster's default is an hour."""
    tables = [
        Table(by, source=Measured, by=by, window=tumbling("1s"), columns={"events": count()})
        for by in ("sensor", "place")
    ]
    found = needs("app", Catalogue([Measured]), tables)
    assert {need.name for need in found} == {
        "topic-measures",
        "app.dead-letters",
        *(f"app.{table}.{kind}" for table in ("sensor", "place") for kind in ("late", "changelog")),
        "app.place.repartition",
    }
    for need in found:
        assert need.config.items() >= ANY_TIME.items(), need.name


@pytest.mark.kafka
def test_a_topic_that_is_wanted_twice_is_made_once(
    broker: str, topic_name: Callable[..., str]
) -> None:
    name = topic_name("twice")
    wanted = [TopicNeed(name), TopicNeed(name, partitions=7)]
    for _ in range(2):
        assert ensure_topics(broker, wanted, partitions=2, replication=1) == {name: 2}

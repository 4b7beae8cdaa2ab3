"""The demo's topics, and where each of them stood when it began."""

from __future__ import annotations

from dataclasses import dataclass, replace

import app.events
import tables
from app.engine import names
from app.engine.language.table import Table
from app.events.catalogue import Catalogue, discover, import_all
from app.events.event import event_type
from app.kafka.offsets import PartitionEnds
from app.kafka.patience import patiently
from app.kafka.topics import TopicNeed, ensure_topics, needs
from app.settings import Settings
from app.shop.outputs import Outputs
from app.shop.progress import Offsets, Progress
from app.shop.traffic import SOURCES

RETENTION = {"retention.bytes": str(256 << 20), "segment.bytes": str(64 << 20)}
"""Of the shop's own topics, per partition: a demo that runs for days does not fill the disk."""


TOPICS_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Scene:
    """A fresh application on topics that may hold the events of earlier ones.

    starts: the first offset of this demo in each partition of the sources and of its outputs.
    internal: (repartition topic, partition) of the application.
    """

    servers: str
    app_id: str
    tables: dict[str, Table]
    derived: tuple[str, ...]
    sources: Offsets
    outputs: Offsets
    internal: tuple[tuple[str, int], ...]

    def read_outputs(self, *, keep: bool) -> Outputs:
        """Follow what the application publishes. keep: the derived events, to compare them later."""
        return Outputs(
            self.servers,
            self.app_id,
            self.outputs,
            derived=self.derived,
            late={names.late_topic(self.app_id, table): table for table in self.tables},
            dead=names.dead_letter_topic(self.app_id),
            kept=self.derived if keep else (),
        )


def set_up(settings: Settings, servers: str, app_id: str, progress: Progress) -> Scene:
    """Make the topics that are missing, and let the application begin where they end now.

    Raises EventDefinitionError, TableDefinitionError, TopicError, KafkaException.
    """
    catalogue = Catalogue(discover(app.events))
    found = {
        item.name: item
        for module in import_all(tables)
        for item in vars(module).values()
        if isinstance(item, Table)
    }
    sources = dict.fromkeys(event_type(cls).topic for cls in SOURCES)
    wanted = [_bounded(need, sources) for need in needs(app_id, catalogue, found.values())]
    counts = ensure_topics(
        servers,
        wanted,
        partitions=settings.topic_partitions,
        replication=settings.topic_replication,
    )
    derived = tuple(topic for topic in catalogue.topics() if topic not in sources)
    outputs = [
        *derived,
        names.dead_letter_topic(app_id),
        *(names.late_topic(app_id, table) for table in found),
    ]
    repartition = {names.repartition_topic(app_id, table) for table in found} & counts.keys()
    # a client that has once missed a new topic is slow to believe in it: ask with a new one each time
    ends = PartitionEnds(servers, app_id, timeout_s=1.0)
    wanted_ends = _partitions([*sources, *outputs], counts)
    starts = patiently(lambda: ends.ends(wanted_ends), timeout_s=TOPICS_TIMEOUT_S)
    begin = {here: offset for here, offset in starts.items() if here[0] in sources}
    progress.begin_at(begin)
    return Scene(
        servers,
        app_id,
        found,
        derived,
        begin,
        {here: offset for here, offset in starts.items() if here not in begin},
        tuple(_partitions(sorted(repartition), counts)),
    )


def _bounded(need: TopicNeed, sources: dict[str, None]) -> TopicNeed:
    if need.name not in sources:
        return need
    return replace(need, config={**need.config, **RETENTION})


def _partitions(topics: list[str], counts: dict[str, int]) -> list[tuple[str, int]]:
    return [(topic, partition) for topic in topics for partition in range(counts[topic])]

"""Which topics are read, and which fields of their events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.engine.language.table import Table
from app.engine.processing.source import Limits, Source
from app.events.catalogue import Catalogue
from app.events.event import Event, event_type


def sources(
    app_id: str,
    catalogue: Catalogue,
    tables: Iterable[Table],
    agents: Mapping[str, type[Event]],
    limits: Limits,
) -> dict[str, Source]:
    """A source per topic that is read, with the fields that tables and agents use. agents: each one's event type."""
    columns: dict[type[Event], set[str]] = {}
    for table in (table for table in tables if table.fed_by is None):
        columns.setdefault(table.source, set()).update(table.columns_read())
    agents_of: dict[type[Event], set[str]] = {}
    for name, cls in agents.items():
        columns.setdefault(cls, set()).update(cls.__struct_fields__)
        agents_of.setdefault(cls, set()).add(name)
    return {
        topic: Source(
            topic,
            catalogue.of_topic(topic),
            columns,
            agents_of,
            app_id=app_id,
            limits=limits,
        )
        for topic in dict.fromkeys(event_type(cls).topic for cls in columns)
    }

"""Durable names: topics are named here and nowhere else; changing one orphans data."""

from __future__ import annotations


def changelog_topic(app_id: str, table: str) -> str:
    """The compacted topic that holds a table's segments."""
    return f"{app_id}.{table}.changelog"


def repartition_topic(app_id: str, table: str) -> str:
    """The topic that carries partial aggregates to the owners of a table's keys."""
    return f"{app_id}.{table}.repartition"


def late_topic(app_id: str, table: str) -> str:
    """Where a table's late events go."""
    return f"{app_id}.{table}.late"


def dead_letter_topic(app_id: str) -> str:
    """Where events go that cannot be read or that an agent fails on."""
    return f"{app_id}.dead-letters"


def replays_topic(app_id: str) -> str:
    """Which dead letters have been replayed."""
    return f"{app_id}.replays"

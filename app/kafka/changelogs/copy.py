"""Copying changelogs into a store: a restore does it up to their ends, a standby for as long as it is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import structlog

from app.codecs.record_batch import Records
from app.engine.state.store import Store, StoreWrite

log = structlog.get_logger(__name__)

Here: TypeAlias = tuple[str, int]
"""A table, or a topic, and a partition of it."""
OWN_MARKER = 1
"""The commit marker that ends the last transaction that the store holds; with nothing else, nobody has written."""


class Start(NamedTuple):
    """From which offset on a store lacks a changelog, where that ends, and how old the store is there (s)."""

    offset: int
    end: int
    age_s: int


def starts_of(
    store: Store,
    parts: Mapping[Here, Here],
    topic_ids: Mapping[str, bytes],
    ends: Mapping[Here, int],
) -> dict[Here, Start]:
    """Where to begin with each table partition; parts: those of the changelogs' partitions, of which `ends` are known.

    The store forgets those with which it cannot go on. One that is gone on with is as old as it was until it has got
    to the end: tombstones of the time in between may be gone before it has read them.
    """
    found: dict[Here, Start] = {}
    useless: dict[str, list[Here]] = {}
    for changelog, high in ends.items():
        here, topic_id = parts[changelog], topic_ids[changelog[0]]
        held = store.changelog_offset(*here)
        if held is not None and (reason := _useless(store, here, topic_id, held, high)):
            useless.setdefault(reason, []).append(here)
            held = None
        if held is None:
            store.begin(*here, topic_id)
        lacks = held is not None and high - held > OWN_MARKER
        found[here] = Start(held or 0, high, store.age_s(*here) if lacks else 0)
    for reason, forgotten in useless.items():
        tables = ", ".join(sorted({table for table, _ in forgotten}))
        log.warning("restore.begun_anew", reason=reason, tables=tables, partitions=len(forgotten))
    return found


def _useless(store: Store, here: Here, topic_id: bytes, held: int, high: int) -> str | None:
    """Why a store that has the changelog up to `held` cannot go on with it; None: it can."""
    if store.changelog(*here) != topic_id:
        return "the state is of another cluster or application, or its changelog was made anew"
    if held > high:
        return "the state is ahead of its changelog: the cluster has lost what it had"
    if high - held > OWN_MARKER and store.stale(*here):
        return "the state is so old that its changelog has forgotten what was deleted meanwhile"
    return None


def take(records: Records, write: StoreWrite) -> int:
    """Add a changelog's records to a write; gives by how many bytes it grows."""
    grown = 0
    for row in range(len(records)):
        key, value = records.key(row), records.value(row)
        if key is None:
            continue  # nothing of ours
        before = write.puts.pop(key, None)
        if value is None:
            write.deletes.append(key)
        else:
            write.puts[key] = value
        grown += len(key) + len(value or b"") - len(before or b"")
    return grown

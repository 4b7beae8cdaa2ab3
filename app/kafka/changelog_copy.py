"""Copying changelogs into a store: a restore does it up to their ends, a standby for as long as it is one."""

from __future__ import annotations

import structlog

from app.codecs.record_batch import Records
from app.engine.store import Store, StoreWrite

log = structlog.get_logger(__name__)

OWN_MARKER = 1
"""The commit marker that ends the last transaction that the store holds; with nothing else, nobody has written."""


def start_of(
    store: Store, table: str, partition: int, changelog: bytes, high: int
) -> tuple[int, int]:
    """From which offset on the store lacks a changelog (the id of its topic, and its end), and how old it is (s).

    It forgets a table partition with which it cannot go on. One that is gone on with is as old as it was until it has
    got to the end: tombstones of the time in between may be gone before it has read them.
    """
    held = store.changelog_offset(table, partition)
    if held is not None and store.changelog(table, partition) != changelog:
        log.warning("restore.other_changelog", table=table, partition=partition, held=held)
        held = None  # it was made anew, or is on another cluster: what is here is not its state
    elif held is not None and held > high:
        log.warning("restore.store_ahead", table=table, partition=partition, held=held, end=high)
        held = None  # the cluster has lost what it had
    elif held is not None and high - held > OWN_MARKER and store.stale(table, partition):
        held = None  # tombstones of that time may be gone, and replaced segments would come back
    if held is None:
        store.begin(table, partition, changelog)
    lacks = held is not None and high - held > OWN_MARKER
    return held or 0, store.age_s(table, partition) if lacks else 0


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

"""Dead letters and late events: the original record, with the reason beside it in headers."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from app.codecs.record_batch import Records
from app.engine.processing.checkpoint import Headers, Record

PREFIX = "headrace_"
FIRST_FACT = PREFIX + "stage"
"""The first header that is added to a dead letter's own."""


def dead_letter(
    topic: str,
    records: Records,
    row: int,
    *,
    source: tuple[str, int],
    stage: str,
    reason: str,
    attempts: int = 1,
    traceback: str | None = None,
    agent: str | None = None,
) -> Record:
    """The record of one event that could not be handled.

    Key, value and headers are the original's, byte by byte; the headers `headrace_*` say where it came
    from, at which stage (decode, agent) it failed, why, and after how many attempts.
    """
    facts = {
        "stage": stage,
        "reason": reason,
        "topic": source[0],
        "partition": str(source[1]),
        "offset": str(int(records.offset[row])),
        "attempts": str(attempts),
    }
    if agent is not None:
        facts["agent"] = agent
    if traceback is not None:
        facts["traceback"] = traceback
    return _original(topic, records, row, facts)


def facts_of(headers: Headers) -> dict[str, str]:
    """What headers of a dead letter say of it, without their prefix."""
    return {
        name.removeprefix(PREFIX): (value or b"").decode(errors="replace")
        for name, value in headers
        if name.startswith(PREFIX)
    }


def late_event(
    topic: str, records: Records, row: int, *, source: tuple[str, int], table: str, stream_time: int
) -> Record:
    """The record of one event that came after its window had closed."""
    facts = {
        "table": table,
        "topic": source[0],
        "partition": str(source[1]),
        "offset": str(int(records.offset[row])),
        "stream_time": str(stream_time),
    }
    return _original(topic, records, row, facts)


def _original(topic: str, records: Records, row: int, facts: dict[str, str]) -> Record:
    added = [  # an error's text may hold halves of characters, which UTF-8 has not
        (PREFIX + name, value.encode(errors="backslashreplace")) for name, value in facts.items()
    ]
    return Record(
        topic,
        records.key(row),
        records.value(row),
        [*records.headers(row), *added],
        timestamp=int(records.timestamp[row]),
    )


def late_rows(topic: str, table: str, rows: pl.DataFrame) -> Iterator[Record]:
    """Records of late rows that have no original: partial aggregates, or what an agent has added.

    A partial holds `_events` events, and comes late only where its sender had been idle.
    """
    for line in rows.write_ndjson().rstrip("\n").split("\n"):  # a text may hold other line ends
        yield Record(topic, None, line.encode(), [(PREFIX + "table", table.encode())])

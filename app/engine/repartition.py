"""Partial aggregates on their way to the owner of their key, with the sender's progress."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from app.codecs.murmur2 import partitions
from app.codecs.record_batch import Records
from app.engine import segment
from app.engine.checkpoint import Record
from app.engine.table import Table
from app.engine.watermark import Progress

_SENDER, _TIME, _IDLE = "sender", "stream_time", "idle"


class Sender:
    """Sends one source partition's partials of one table to the partitions of the repartition topic.

    Progress alone is sent only when it can matter: when stream time has passed the close of another
    window, or the partition has become idle. Of several records with partials only the last one tells the
    progress: what comes with the others must be there before it closes windows.
    """

    def __init__(
        self, table: Table, topic: str, partition: int, partition_count: int, bytes_max: int
    ) -> None:
        self._table = table
        self._topic = topic
        self._partition = partition
        self._count = partition_count
        self._bytes_max = bytes_max
        self._told: list[Progress | None] = [None] * partition_count

    def records(self, merged: pl.DataFrame | None, progress: Progress) -> Iterator[Record]:
        """The records of one checkpoint. merged: partials, one row per window and key."""
        parts: dict[int, pl.DataFrame] = {}
        if merged is not None and len(merged):
            target = partitions(self._table.key_text(merged), self._count)
            parts = {
                key[0]: part.drop("_partition")
                for key, part in merged.with_columns(target.alias("_partition"))
                .partition_by("_partition", as_dict=True)
                .items()
            }
        for target_partition in range(self._count):
            part = parts.get(target_partition)
            told = self._told[target_partition]
            if part is None and told is not None and self._matters(told) == self._matters(progress):
                continue
            *others, last = (
                [b""] if part is None else segment.encode(part, self._table.by, self._bytes_max)
            )
            for chunk in others:
                yield self._record(target_partition, chunk, Progress(told.time if told else None))
            yield self._record(target_partition, last, progress)
            self._told[target_partition] = progress

    def _matters(self, progress: Progress) -> tuple[int | None, bool]:
        """How far windows are closed by it, and whether it holds others back."""
        time = progress.time
        return None if time is None else self._table.windowing.closed_before(time), progress.idle

    def _record(self, partition: int, value: bytes, progress: Progress) -> Record:
        headers = [
            (_SENDER, str(self._partition).encode()),
            (_TIME, b"" if progress.time is None else str(progress.time).encode()),
            (_IDLE, b"1" if progress.idle else b"0"),
        ]
        return Record(self._topic, None, value, headers, partition)


def received(records: Records) -> Iterator[tuple[int, Progress, pl.DataFrame | None]]:
    """Read back what senders sent: (sender, its progress, partials or None)."""
    for row in range(len(records.offset)):
        headers = dict(records.headers(row))
        time = headers[_TIME] or b""
        value = records.value(row)
        yield (
            int(headers[_SENDER] or b""),
            Progress(int(time) if time else None, headers[_IDLE] == b"1"),
            segment.decode(value) if value else None,
        )

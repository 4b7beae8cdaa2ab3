"""Partial aggregates on their way to the owner of their key, with the sender's progress."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import polars as pl

from app.codecs.key_hash import key_hashes
from app.codecs.murmur2 import partitions
from app.codecs.record_batch import Records
from app.engine.language.table import Table
from app.engine.processing.checkpoint import Record
from app.engine.state import segment
from app.engine.state.definition import Definition
from app.engine.state.layout import Layout
from app.engine.state.store import StateRefusedError
from app.engine.state.watermark import Progress

_SENDER, _TIME, _IDLE, _DIGESTS = "sender", "stream_time", "idle", "digests"


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
        self._digests = msgspec.json.encode(Definition.of(table, partition_count).digests())

    def records(self, merged: pl.DataFrame | None, progress: Progress) -> Iterator[Record]:
        """The records of one checkpoint. merged: partials, one row per window and key."""
        parts = {} if merged is None else split(self._table, merged, self._count)
        for target_partition in range(self._count):
            part = parts.get(target_partition)
            told = self._told[target_partition]
            if part is None and told is not None and self._matters(told) == self._matters(progress):
                continue
            *others, last = [b""] if part is None else self._segments(part)
            for chunk in others:
                yield self._record(target_partition, chunk, Progress(told.time if told else None))
            yield self._record(target_partition, last, progress)
            self._told[target_partition] = progress

    def _segments(self, part: pl.DataFrame) -> list[bytes]:
        return segment.encode(part, key_hashes(part, self._table.by), self._bytes_max)

    def _matters(self, progress: Progress) -> tuple[int | None, bool]:
        """How far windows are closed by it, and whether it holds others back."""
        time = progress.time
        return None if time is None else self._table.windowing.closed_before(time), progress.idle

    def _record(self, partition: int, value: bytes, progress: Progress) -> Record:
        headers = [
            (_SENDER, str(self._partition).encode()),
            (_TIME, b"" if progress.time is None else str(progress.time).encode()),
            (_IDLE, b"1" if progress.idle else b"0"),
            (_DIGESTS, self._digests if value else b""),
        ]
        return Record(self._topic, None, value, headers, partition)


def split(table: Table, partials: pl.DataFrame, count: int) -> dict[int, pl.DataFrame]:
    """The partials of each partition of the table, of so many."""
    if partials.is_empty():
        return {}
    target = partitions(table.key_text(partials), count)
    return {
        key[0]: part.drop("_partition")
        for key, part in partials.with_columns(target.alias("_partition"))
        .partition_by("_partition", as_dict=True)
        .items()
    }


class Receiver:
    """Reads back what the senders of a table sent; of a sender with other columns, those that are the same."""

    def __init__(self, table: Table) -> None:
        self._table = table
        definition = Definition.of(table, 0)
        self._digests = definition.digests()
        self._same = msgspec.json.encode(self._digests)
        self._layout = Layout(table, definition)

    def received(self, records: Records) -> Iterator[tuple[int, Progress, pl.DataFrame | None]]:
        """Gives (sender, its progress, partials or None). StateRefusedError: they are of another definition."""
        for row in range(len(records.offset)):
            headers = dict(records.headers(row))
            time = headers[_TIME] or b""
            value = records.value(row)
            yield (
                int(headers[_SENDER] or b""),
                Progress(int(time) if time else None, headers[_IDLE] == b"1"),
                self._partials(value, headers.get(_DIGESTS) or b"{}") if value else None,
            )

    def _partials(self, value: bytes, digests: bytes) -> pl.DataFrame:
        frame = segment.decode(value)
        if digests == self._same:
            return frame
        told = msgspec.json.decode(digests, type=dict[str, str])
        if told.get("") != self._digests[""]:
            name = self._table.name
            raise StateRefusedError(
                f"table {name!r} is defined otherwise than when partial aggregates were sent that are still to be "
                f"counted: rebuild it from its source (faust -A app rebuild {name}), give the new definition a "
                "new name, or restore the old one"
            )
        other = [name for name, digest in self._digests.items() if told.get(name) != digest]
        gone = [part for name in other for part in self._table.parts[name]]
        return self._layout.read(frame.drop(gone, strict=False))

"""From the bytes of a fetch to batches of each event type; what cannot be read becomes a dead letter."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import polars as pl

from app.codecs.json_columns import JsonColumns
from app.codecs.record_batch import PLAIN, STRUCTURED, Fetch, Records, event_types, parse
from app.engine import names
from app.engine.batch_columns import OFFSET, TIME
from app.engine.language.batch import Batch
from app.engine.processing.checkpoint import Record
from app.engine.processing.dead_letter import dead_letter
from app.engine.processing.replay import replays
from app.events.event import Event, event_type

TIME_MIN, TIME_MAX = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999 (ms): what clocks show and what datetimes can hold."""


@dataclass(frozen=True)
class Limits:
    """How large and how deep an event may be, and whether record batches' checksums are verified."""

    event_bytes_max: int = 256 * 1024
    json_depth_max: int = 64
    check_crc: bool = True


class _Envelope(msgspec.Struct):
    """CloudEvents structured mode; the other attributes are not needed here."""

    specversion: str
    id: str
    source: str
    type: str
    data: msgspec.Raw


@dataclass
class Decoded:
    """The batches of one fetch, in the order of the types; `records` gives the original bytes.

    fallback: how many events the JSON kernel left to msgspec. replayed_for: the agent of each record that is
    replayed for it alone.
    """

    fetch: Fetch
    records: Records
    batches: list[Batch] = field(default_factory=list)
    dead_letters: list[Record] = field(default_factory=list)
    fallback: int = 0
    replayed_for: dict[int, str] = field(default_factory=dict)


class Source:
    """Reads the events of one topic.

    types: all event types of the topic. columns: the fields that are used, per type; types that nobody
    reads are passed over. agents: the names of those that read a type.
    """

    def __init__(
        self,
        topic: str,
        types: Sequence[type[Event]],
        columns: Mapping[type[Event], Iterable[str]],
        agents: Mapping[type[Event], Container[str]],
        *,
        app_id: str,
        limits: Limits,
    ) -> None:
        self.topic = topic
        self._types = list(types)
        self._names = [event_type(cls).name for cls in types]
        self._plain = next((n for n, cls in enumerate(types) if event_type(cls).plain), None)
        self._agents = agents
        self._app_id = app_id
        self._dead_letter_topic = names.dead_letter_topic(app_id)
        self._limits = limits
        self._decoders = {
            number: JsonColumns(
                cls,
                [
                    name
                    for name in cls.__struct_fields__
                    if name in used or name == event_type(cls).time
                ],
                value_bytes_max=limits.event_bytes_max,
                depth_max=limits.json_depth_max,
            )
            for number, cls in enumerate(types)
            if (used := set(columns.get(cls, ()))) or cls in columns
        }

    def decode(self, fetch: Fetch, *, read_from: int | None = None) -> Decoded:
        """Parse and decode one fetch. CorruptRecordBatch: the bytes are damaged.

        read_from: the partition is read anew from this offset, so a replay counts only if its original lies before.
        """
        records = parse(fetch, check_crc=self._limits.check_crc)
        decoded = Decoded(fetch, records)
        if len(records.offset) == 0:
            return decoded
        kinds = event_types(records, self._names)
        if records.header_count.any():
            kinds = self._address(kinds, decoded, read_from)
        view = _Values(records.buffer, records.value_start, records.value_length)
        if kinds.min() < 0:
            kinds = self._settle(kinds, view, decoded)
        present = np.unique(kinds)
        for kind in present[present >= 0]:
            rows = np.arange(len(kinds)) if len(present) == 1 else np.flatnonzero(kinds == kind)
            if kind in self._decoders:
                self._decode_type(int(kind), rows, len(present) == 1, view, decoded)
        return decoded

    def _decode_type(
        self, kind: int, rows: np.ndarray[Any, Any], whole: bool, view: _Values, decoded: Decoded
    ) -> None:
        """Decode the rows of one type; `whole`: they are all the rows of the fetch."""
        records = decoded.records
        start, length = (
            (view.start, view.length) if whole else (view.start[rows], view.length[rows])
        )
        columns = self._decoders[kind].decode(view.buffer, start, length)
        decoded.fallback += columns.fallback
        for rejected in columns.rejected:
            self._reject(decoded, int(rows[rejected.row]), rejected.reason)
        if columns.rows is not None:
            rows = rows[columns.rows]
        if len(rows) == 0:
            return
        cls = self._types[kind]
        offsets, stamps = (
            (records.offset, records.timestamp)
            if len(rows) == len(records.offset)
            else (records.offset[rows], records.timestamp[rows])
        )
        time_field = event_type(cls).time
        times = (
            pl.Series(TIME, stamps) if time_field is None else columns.frame[time_field].alias(TIME)
        )
        frame = columns.frame.hstack([times, pl.Series(OFFSET, offsets)])
        if times.null_count() or times.min() < TIME_MIN or times.max() > TIME_MAX:  # type: ignore[operator]
            frame, rows = self._without_impossible_times(frame, rows, decoded)
        batch = Batch(cls, self.topic, decoded.fetch.partition, frame, rows)
        if decoded.replayed_for:
            batch = self._addressed(batch, decoded)
        if len(batch):
            decoded.batches.append(batch)

    def _address(
        self, kinds: np.ndarray[Any, Any], decoded: Decoded, read_from: int | None
    ) -> np.ndarray[Any, Any]:
        """Note whom replays are for; those of other applications, and those whose original is read, are done with."""
        found = replays(decoded.records)
        if not found:
            return kinds
        here = (self.topic, decoded.fetch.partition)
        kinds = kinds.copy()
        for row, replay in found.items():
            twice = (
                read_from is not None
                and (replay.topic, replay.partition) == here
                and replay.offset >= read_from
            )
            if twice or replay.app_id != self._app_id:
                kinds[row] = _DONE
            elif replay.agent is not None:
                decoded.replayed_for[row] = replay.agent
        return kinds

    def _addressed(self, batch: Batch, decoded: Decoded) -> Batch:
        """The batch with what says whom each event is for; what is for an agent that is not there is rejected."""
        wanted = [decoded.replayed_for.get(int(row)) for row in batch.rows]
        agents = self._agents.get(batch.cls, ())
        there = np.array([name is None or name in agents for name in wanted])
        for number in np.flatnonzero(~there):
            reason = f"replayed for the agent {wanted[number]!r}, and {batch.cls.__name__} has none of that name"
            self._reject(decoded, int(batch.rows[number]), reason)
        kept = pl.Series(wanted, dtype=pl.String).filter(pl.Series(there))
        frame, rows = batch.frame.filter(pl.Series(there)), batch.rows[there]
        addressed = kept if kept.len() > kept.null_count() else None
        return Batch(batch.cls, batch.topic, batch.partition, frame, rows, replayed_for=addressed)

    def _without_impossible_times(
        self, frame: pl.DataFrame, rows: np.ndarray[Any, Any], decoded: Decoded
    ) -> tuple[pl.DataFrame, np.ndarray[Any, Any]]:
        """One event of the year 50,000 would close all windows, so it is rejected."""
        possible = frame[TIME].is_between(TIME_MIN, TIME_MAX).fill_null(False)
        for number in (~possible).arg_true():
            reason = f"event time {frame[TIME][number]} ms is not between the years 1 and 9999"
            self._reject(decoded, int(rows[number]), reason)
        return frame.filter(possible), rows[possible.to_numpy()]

    def _settle(
        self, kinds: np.ndarray[Any, Any], view: _Values, decoded: Decoded
    ) -> np.ndarray[Any, Any]:
        """Decide on the records whose headers name none of the topic's types."""
        kinds = kinds.copy()
        if self._plain is not None:
            kinds[kinds == PLAIN] = self._plain
        for row in np.flatnonzero(kinds == STRUCTURED):
            kinds[row] = self._open_envelope(int(row), view, decoded)
        for row in np.flatnonzero(kinds == PLAIN):
            self._reject(
                decoded, int(row), "no ce_type header, and no type of the topic is plain=True"
            )
        for row in np.flatnonzero(kinds == _UNKNOWN):
            name = dict(decoded.records.headers(int(row))).get("ce_type") or b""
            self._reject(
                decoded, int(row), f"unknown event type {name.decode(errors='replace')[:200]!r}"
            )
        return kinds

    def _open_envelope(self, row: int, view: _Values, decoded: Decoded) -> int:
        """Find type and data of an event in CloudEvents structured mode; _DONE: it was rejected."""
        value = decoded.records.value(row)
        try:
            if value is None or len(value) > self._limits.event_bytes_max:
                raise ValueError("null value" if value is None else "value is too long")
            envelope = msgspec.json.decode(value, type=_Envelope)
            kind = self._names.index(envelope.type) if envelope.type in self._names else None
            if kind is None:
                raise ValueError(f"unknown event type {envelope.type[:200]!r}")
        except (ValueError, RecursionError) as error:
            self._reject(decoded, row, f"CloudEvents envelope: {error}")
            return _DONE
        view.replace(row, bytes(envelope.data))
        return kind

    def _reject(self, decoded: Decoded, row: int, reason: str) -> None:
        source = (self.topic, decoded.fetch.partition)
        decoded.dead_letters.append(
            dead_letter(
                self._dead_letter_topic,
                decoded.records,
                row,
                source=source,
                stage="decode",
                reason=reason,
            )
        )


_UNKNOWN, _DONE = -1, -4


class _Values:
    """Where each record's JSON lies; structured events' data is put behind the buffer."""

    def __init__(
        self,
        buffer: np.ndarray[Any, Any],
        start: np.ndarray[Any, Any],
        length: np.ndarray[Any, Any],
    ) -> None:
        self._buffer = buffer
        self._extra: list[np.ndarray[Any, Any]] = []
        self._extra_bytes = 0
        self.start = start
        self.length = length

    @property
    def buffer(self) -> np.ndarray[Any, Any]:
        """All bytes that `start` and `length` point into."""
        if self._extra:
            self._buffer = np.concatenate([self._buffer, *self._extra])
            self._extra, self._extra_bytes = [], 0
        return self._buffer

    def replace(self, row: int, data: bytes) -> None:
        """Let the record's JSON be `data`."""
        if not self._extra:
            self.start, self.length = self.start.copy(), self.length.copy()
        self.start[row] = len(self._buffer) + self._extra_bytes
        self.length[row] = len(data)
        self._extra.append(np.frombuffer(data, np.uint8))
        self._extra_bytes += len(data)

"""What an agent gets: the events of one type in one fetch, as columns; its effects are only staged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import polars as pl

from app.engine.batch_columns import OFFSET, TIME
from app.engine.language.table import Table
from app.events.event import Event, event_type, filled, schema


class EmitError(ValueError):
    """An agent emits what is not an event of the given type; the message says what is missing."""


@dataclass(frozen=True)
class Emission:
    """Events of one type to be produced with the checkpoint.

    frame: the type's fields. An event's id is `id_prefix` and what `ids` (String) has for it: unique, and the same
    after a replay. times: Int64, ms. partition: of the source or the table; what comes of one keeps its order.
    """

    cls: type[Event]
    frame: pl.DataFrame
    ids: pl.Series
    times: pl.Series
    source: str
    partition: int
    id_prefix: str = ""

    def parts(self, rows_max: int) -> Iterator[Emission]:
        """The same events, cut into pieces of at most so many."""
        for first in range(0, len(self.frame), rows_max):
            cut = slice(first, first + rows_max)
            yield replace(self, frame=self.frame[cut], ids=self.ids[cut], times=self.times[cut])

    def whole_ids(self) -> pl.Series:
        """The ids, with the prefix that they have in common."""
        return pl.select(pl.concat_str(pl.lit(self.id_prefix), self.ids)).to_series()


def of_one_kind(emissions: Iterable[Emission]) -> list[list[Emission]]:
    """Those of one type and source together, in their order."""
    kinds: dict[tuple[type[Event], str], list[Emission]] = {}
    for emission in emissions:
        kinds.setdefault((emission.cls, emission.source), []).append(emission)
    return list(kinds.values())


def joined(emissions: Sequence[Emission]) -> Emission:
    """Those of one type and source as one, in their order: what follows costs by the emission, not by the row."""
    first = emissions[0]
    if len(emissions) == 1:
        return first
    one_prefix = all(item.id_prefix == first.id_prefix for item in emissions)
    return replace(
        first,
        frame=pl.concat([item.frame for item in emissions]),
        ids=pl.concat([item.ids if one_prefix else item.whole_ids() for item in emissions]),
        times=pl.concat([item.times for item in emissions]),
        id_prefix=first.id_prefix if one_prefix else "",
    )


def pieces(emissions: Iterable[Emission], rows_max: int) -> Iterator[Emission]:
    """Those of one type and source in their order, neighbours joined and large ones cut, of at most so many rows."""
    waiting: list[Emission] = []
    rows = 0
    for emission in emissions:
        for part in emission.parts(rows_max):
            if waiting and rows + len(part.frame) > rows_max:
                yield joined(waiting)
                waiting, rows = [], 0
            waiting.append(part)
            rows += len(part.frame)
    if waiting:
        yield joined(waiting)


@dataclass(frozen=True)
class Update:
    """Rows that an agent adds to a table: the fields that the table reads, `_time` (ms) and `_offset`."""

    table: Table
    frame: pl.DataFrame


@dataclass
class Batch:
    """Events of one type from one fetch of one partition.

    frame: the type's fields, `_time` (event time, ms) and `_offset`. rows: the record numbers in the fetch.
    Nothing that an agent does with a batch is visible before the checkpoint that holds it.
    """

    cls: type[Event]
    topic: str
    partition: int
    frame: pl.DataFrame
    rows: np.ndarray[Any, Any]
    agent: str = ""
    replayed_for: pl.Series | None = None
    """The agent that each event is for alone, and null where it is for all; None: all are."""
    emissions: list[Emission] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    _emitted: dict[type[Event], list[pl.Series]] = field(default_factory=dict)
    """The offsets of what was emitted, by type: so much has been numbered."""

    def __len__(self) -> int:
        return len(self.frame)

    def emit(self, cls: type[Event], frame: pl.DataFrame) -> None:
        """Stage one event of type `cls` per row of `frame`.

        frame must have the type's fields. Where it keeps `_time` and `_offset`, the new events have the
        time of the ones they come from, and ids that stay the same however the stream is cut into batches.

        Raises EmitError when a field is missing or has another type.
        """
        if frame.is_empty():
            return
        fields = _fields_of(cls, frame)
        _refuse_nulls(cls, frame, [name for name in (TIME, OFFSET) if name in frame.columns])
        _refuse_nulls(cls, fields, [name for name in filled(cls) if name in fields.columns])
        _refuse_no_numbers(cls, fields)
        ids = self._ids_by_offset(cls, frame) if OFFSET in frame.columns else self._ids(len(frame))
        last = self.frame[TIME].max() if len(self.frame) else 0
        times = (
            frame[TIME]
            if TIME in frame.columns
            else pl.Series([last]).new_from_index(0, len(frame))
        )
        self.emissions.append(
            Emission(cls, fields, ids, times.cast(pl.Int64), self.agent, self.partition)
        )

    def _ids_by_offset(self, cls: type[Event], frame: pl.DataFrame) -> pl.Series:
        """Agent, partition and offset of the cause, the type, and which one of that type it is there."""
        offsets = frame.get_column(OFFSET)
        origin, kind = f"{self.agent}:{self.topic}:{self.partition}:", f":{event_type(cls).name}:"
        before = self._emitted.setdefault(cls, [])
        if not before and (np.diff(offsets.to_numpy()) > 0).all():  # the usual case: one each
            ids = pl.concat_str(pl.lit(origin), OFFSET, pl.lit(f"{kind}0"))
            numbered = frame
        else:
            numbered = _numbered(offsets, before)
            ids = pl.concat_str(pl.lit(origin), OFFSET, pl.lit(kind), "number")
        before.append(offsets)
        return numbered.select(ids).to_series()

    def _ids(self, count: int) -> pl.Series:
        """Ids for what comes from the batch as a whole; another cut of the stream gives others."""
        first = int(self.frame[OFFSET][0]) if len(self.frame) else 0
        origin = f"{self.agent}:{self.topic}:{self.partition}:{first}-{len(self.emissions)}-"
        return pl.Series([f"{origin}{row}" for row in range(count)])

    def update(self, table: Table, frame: pl.DataFrame) -> None:
        """Add rows to a table that is fed by this batch's event type.

        frame must have the fields of the table's source that the table reads. Where it keeps `_time`, the
        rows belong to that time; otherwise to the last of the batch. Where it keeps `_offset`, a row is
        late if its window had closed when its event came, however the stream is cut into batches.

        Raises EmitError when the table is fed otherwise, or a field is missing or has another type.
        """
        if table.fed_by is not self.cls:
            raise EmitError(
                f"{table!r} is not fed by {self.cls.__name__}; define it with fed_by={self.cls.__name__}"
            )
        if frame.is_empty():
            return
        fields = _fields_of(table.source, frame, table.columns_read())
        _refuse_nulls(table.source, frame, [TIME] if TIME in frame.columns else [])
        times = frame[TIME] if TIME in frame.columns else pl.lit(self.frame[TIME].max()).alias(TIME)
        causes = frame[OFFSET] if OFFSET in frame.columns else pl.lit(None).alias(OFFSET)
        fields = fields.with_columns(times.cast(pl.Int64), causes.cast(pl.Int64))
        self.updates.append(Update(table, fields))

    def too_large(self, bytes_max: int) -> EmitError | None:
        """Why what was staged cannot be sent: an event, or a row for a table, whose texts take more bytes than this."""
        for cls, frame in (
            *((item.cls, item.frame) for item in self.emissions),
            *((item.table.source, item.frame) for item in self.updates),
        ):
            if (size := _longest(frame, bytes_max)) > bytes_max:
                return EmitError(
                    f"{cls.__name__} with {size} bytes of text; at most {bytes_max} can be sent (HEADRACE_EVENT_KB_MAX)"
                )
        return None

    def part(self, start: int, length: int) -> Batch:
        """A slice of the batch, without the effects."""
        return Batch(
            self.cls,
            self.topic,
            self.partition,
            self.frame.slice(start, length),
            self.rows[start : start + length],
            self.agent,
            None if self.replayed_for is None else self.replayed_for.slice(start, length),
        )

    def for_all(self) -> Batch:
        """The events that are not replayed for one agent alone."""
        return self if self.replayed_for is None else self._where(self.replayed_for.is_null())

    def for_agent(self, name: str) -> Batch:
        """The events that an agent is given."""
        if self.replayed_for is None:
            return self
        return self._where(self.replayed_for.is_null() | self.replayed_for.eq_missing(name))

    def _where(self, wanted: pl.Series) -> Batch:
        rows = self.rows[wanted.to_numpy()]
        return Batch(self.cls, self.topic, self.partition, self.frame.filter(wanted), rows)

    def events(self) -> list[Event]:
        """The events as objects of their type, in order."""
        fields = self.frame.select(self.cls.__struct_fields__)
        return msgspec.convert(fields.to_dicts(), list[self.cls])  # type: ignore[name-defined]


def _longest(frame: pl.DataFrame, enough: int) -> int:
    """The bytes of the texts of the row that has most, or some number up to `enough` if none has more than that."""
    if frame.estimated_size() <= enough:
        return 0
    sizes = [
        (
            pl.col(name) if kind == pl.String else pl.struct(name).struct.json_encode()
        ).str.len_bytes()
        for name, kind in frame.schema.items()
        if kind == pl.String or kind.is_nested()
    ]
    return int(frame.select(pl.sum_horizontal(sizes).max()).item()) if sizes else 0


def frame_of(cls: type[Event], events: Sequence[Event]) -> pl.DataFrame:
    """Events of one type as a frame. EmitError: a field has another type."""
    rows = {name: [getattr(event, name) for event in events] for name in cls.__struct_fields__}
    try:
        return pl.DataFrame(rows, schema=schema(cls))
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        raise EmitError(f"{cls.__name__}: {error}") from error


def _fields_of(
    cls: type[Event], frame: pl.DataFrame, required: set[str] | None = None
) -> pl.DataFrame:
    """The type's fields out of the frame, in the type's order and types.

    required: the fields that must be there, and the only ones to take; None: those without a default.
    """
    kinds = schema(cls)
    if required is None:
        required = _required(cls)
    else:
        kinds = {name: kind for name, kind in kinds.items() if name in required}
    given = dict(frame.schema)
    missing = sorted(required - given.keys())
    if missing:
        raise EmitError(
            f"{cls.__name__} needs {', '.join(missing)}; the frame has only {', '.join(frame.columns)}"
        )
    # column by column: a query over the frame would cost more than the columns of a small batch
    columns: list[pl.Series] = []
    for name, kind in kinds.items():
        if name not in given:
            absent = pl.Series(name, [_default(cls, name)], dtype=kind)
            columns.append(absent.new_from_index(0, len(frame)))
            continue
        column = frame.get_column(name)
        if given[name] != kind:
            if not _fits(given[name], kind):
                raise EmitError(f"{cls.__name__}: {name} must be {kind}, not {given[name]}")
            try:
                column = column.cast(kind)
            except pl.exceptions.PolarsError as error:
                raise EmitError(f"{cls.__name__}: {error}") from error
        columns.append(column)
    return pl.DataFrame(columns)


@cache
def _required(cls: type[Event]) -> set[str]:
    """The fields without a default."""
    return {info.name for info in msgspec.structs.fields(cls) if info.required}


def _numbered(offsets: pl.Series, before: Sequence[pl.Series]) -> pl.DataFrame:
    """The offsets, and which one of its offset each is, counted on from those before."""
    numbered = pl.DataFrame([offsets]).select(
        OFFSET, pl.int_range(pl.len()).over(OFFSET).alias("number")
    )
    if not before:
        return numbered
    seen = pl.concat(before).to_frame().group_by(OFFSET).agg(pl.len().alias("before"))
    return numbered.join(seen, OFFSET, how="left", maintain_order="left").select(
        OFFSET, pl.col("number") + pl.col("before").fill_null(0)
    )


def _default(cls: type[Event], name: str) -> Any:
    """The value of a field that is not given."""
    info = next(info for info in msgspec.structs.fields(cls) if info.name == name)
    return info.default_factory() if info.default is msgspec.NODEFAULT else info.default


def _fits(given: pl.DataType, kind: pl.DataType) -> bool:
    """Whether a column can be cast without another meaning."""
    if kind.is_integer():
        return given.is_integer() or given == pl.Null
    if kind.is_float():
        return given.is_numeric() or given == pl.Null
    return given == kind or given.base_type() in (kind.base_type(), *_AS[kind.base_type()])


_AS: dict[Any, tuple[Any, ...]] = defaultdict(
    lambda: (pl.Null,), {pl.String: (pl.Null, pl.Categorical, pl.Enum)}
)
"""What can stand for a type besides itself."""


def _refuse_nulls(cls: type[Event], frame: pl.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        if nulls := frame.get_column(name).null_count():
            raise EmitError(f"{cls.__name__}: {name} is null in {nulls} of {len(frame)} rows")


def _refuse_no_numbers(cls: type[Event], frame: pl.DataFrame) -> None:
    """JSON has no infinity and no NaN: in a field that may not be None they could not be read back."""
    for name in filled(cls):
        column = frame.get_column(name)
        if column.dtype == pl.Float64 and not (finite := column.is_finite()).all():
            raise EmitError(
                f"{cls.__name__}: {name} is no finite number in {(~finite).sum()} of {len(frame)} rows"
            )

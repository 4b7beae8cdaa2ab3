"""The table language: what a user declares, and the Polars expressions that follow from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from app.engine.aggregates import EVENTS, Aggregate
from app.engine.batch_columns import OFFSET, TIME
from app.engine.language.reads import TableReads
from app.engine.language.table_checks import TableChecks, TableDefinitionError
from app.engine.partials import Merged, merge_partials
from app.engine.sessions import FIRST, LAST, Sessions
from app.engine.windows import WINDOW_END, WINDOW_START, Unwindowed, Window
from app.events.event import Event, event_type, filled, schema

PANE = "_pane"
"""The hidden column of every partial: the start of the window (ms)."""
PARTITION = "_partition"
"""A column that some partials are merged by, too."""

DIFFERENT = 0.8
"""Rows of which more than this share are of different keys are not worth grouping."""


class TableNotRunningError(RuntimeError):
    """A table is read that no running worker serves."""


class Table:
    """An aggregate of events, kept per key and read live.

    name:    durable: the changelog and other topics are named after it.
    source:  the event type that feeds it; its agent comes with the table.
    by:      the key, one or several fields of the source.
    window:  such as tumbling("1m", grace="10s"); without one there is one row per key.
    ttl:     such as "1h": a key without a window is gone when the watermark is so far behind its last
             event, and begins anew with its next; None: it is kept for good.
    columns: name to aggregate.
    emit:    an event type that is emitted per key when a window closes; its fields are taken by name
             from the key, the columns, window_start and window_end (ms).
    fed_by:  the event type whose agents feed the table with `batch.update(table, rows)`, instead of its
             source's topic; `source` is then only the type of the rows.

    Raises TableDefinitionError when it cannot work.
    """

    def __init__(
        self,
        name: str,
        *,
        source: type[Event],
        by: str | Sequence[str],
        columns: Mapping[str, Aggregate],
        window: Window | None = None,
        ttl: str | int | None = None,
        emit: type[Event] | None = None,
        fed_by: type[Event] | None = None,
        description: str = "",
    ) -> None:
        self.name = name
        self.source = source
        self.by = (by,) if isinstance(by, str) else tuple(by)
        self.columns = dict(columns)
        checks = TableChecks(name, source, self.by, self.columns)
        checks.check_name()
        checks.check_key()
        checks.check_columns()
        self.ttl_ms = checks.ttl_ms(ttl, window)
        self.windowing: Window = window or Unwindowed(self.ttl_ms)
        self.emit = emit
        self.fed_by = fed_by
        self.description = description or _first_line(source)
        self._here: TableReads | None = None
        self._group: TableReads | None = None
        source_schema = schema(source)
        self._keys = list(self.by)
        self.sessions = None if self.ttl_ms is None else Sessions(self.ttl_ms, self._keys)
        self._partial = [pl.len().cast(pl.Int64).alias(EVENTS)]
        self._single: list[pl.Expr] | None = [pl.lit(1, pl.Int64).alias(EVENTS)]
        self._merge = [pl.col(EVENTS).sum()]
        self.parts: dict[str, list[str]] = {}
        for column, aggregate in self.columns.items():
            partial = aggregate.partial(column)
            self.parts[column] = [expression.meta.output_name() for expression in partial]
            self._partial += partial
            single = aggregate.single(column)
            self._single = None if self._single is None or single is None else self._single + single
            self._merge += aggregate.merge(column)
        if self.sessions:
            self._partial += self.sessions.partial
            self._single = self._single and [*self._single, *self.sessions.single]
            self._merge += self.sessions.merge
        self.row_schema = {
            **({WINDOW_START: pl.Int64(), WINDOW_END: pl.Int64()} if self.windowed else {}),
            **{key: source_schema[key] for key in self.by},
            **{name: item.result_type(source_schema) for name, item in self.columns.items()},
        }
        if emit is not None:
            checks.check_emit(emit, self.row_schema)

    @property
    def windowed(self) -> bool:
        """Whether it has windows; otherwise all of time is one, which never closes."""
        return self.windowing.size_ms is not None

    @property
    def aligned(self) -> bool:
        """Whether the table's key is its topic's key, so that no repartition is needed.

        Records without a key may be in any partition, so a key that may be null is not enough.
        """
        key = event_type(self.source).key
        return self.fed_by is None and self.by == (key,) and key in filled(self.source)

    @property
    def topic(self) -> str:
        """The topic whose events feed the table."""
        return event_type(self.fed_by or self.source).topic

    @cached_property
    def partial_schema(self) -> dict[str, pl.DataType]:
        """The columns of a partial."""
        kinds = {**schema(self.source), TIME: pl.Int64(), OFFSET: pl.Int64()}
        grouped = pl.LazyFrame(schema=kinds).group_by(self._keys).agg(self._partial)
        return {PANE: pl.Int64(), **grouped.collect_schema()}

    def of_nothing(self, column: str) -> Any:
        """What a column is where no event has counted for it."""
        kinds = {part: self.partial_schema[part] for part in (EVENTS, *self.parts[column])}
        empty = pl.DataFrame({part: [None] for part in kinds}, schema=kinds)
        aggregate = self.columns[column]
        merged = empty.select(pl.col(EVENTS).sum(), *aggregate.merge(column))
        return merged.select(aggregate.result(column)).item()

    def emits_filled(self, column: str) -> bool:
        """Whether the column is emitted as a field that must not be null."""
        emit = self.emit
        return emit is not None and column in filled(emit)

    async def get(self, key: Any) -> pl.DataFrame:
        """The rows of one key, as the last checkpoint left them: one per window, newest first.

        A key of several columns is a tuple. Asks the worker of the group that has it.
        PartsMissingError: no worker answers for it now; it has the rows that were found all the same.
        TableKeyError: the key has another form. TableNotRunningError: the table belongs to no running worker.
        """
        return await self.group.get(key)

    async def range(self, keys: Iterable[Any]) -> pl.DataFrame:
        """The rows of several keys, as `get` gives those of one."""
        return await self.group.range(keys)

    async def window(self, time: int | datetime) -> pl.DataFrame:
        """The rows of the window that holds a time (ms, or a datetime), of all workers of the group."""
        return await self.group.window(time)

    def scan(self, time: int | datetime | None = None) -> AsyncIterator[pl.DataFrame]:
        """All rows of all workers, in frames of bounded size: `async for frame in table.scan()`.

        time: only those of the window that holds it.
        PartsMissingError, at the end: some workers gave none, or not all; of those some may have come.
        """
        return self.group.scan(time)

    @property
    def here(self) -> TableReads:
        """The same reads, of this worker's partitions alone: nothing is asked of other workers, or missing."""
        return self._served(self._here)

    def serve(self, here: TableReads, group: TableReads | None = None) -> None:
        """Let the table be read through a running worker, and through its group."""
        self._here, self._group = here, group or here

    @property
    def group(self) -> TableReads:
        """The reads of all workers' partitions, which `get` and its like go to."""
        return self._served(self._group)

    def _served(self, reads: TableReads | None) -> TableReads:
        if reads is None:
            raise TableNotRunningError(
                f"table {self.name!r} belongs to no running worker: read it from an agent or a page, "
                "or in a test through the driver"
            )
        return reads

    def columns_read(self) -> set[str]:
        """The fields of the source that the table needs."""
        return set(self.by).union(
            *(aggregate.columns_read() for aggregate in self.columns.values())
        )

    def partial(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Reduce events to one row per window and key; with a ttl, per key and session.

        frame: the source's fields and `_time` (ms). Gives `_pane`, the keys, `_events` and the partial columns.
        """
        times = frame[TIME]
        if self.sessions and self.sessions.several(times, times):
            return self._only_pane(self.sessions.events(frame, self._partial))
        first, last = self.windowing.pane_of(times.min()), self.windowing.pane_of(times.max())  # type: ignore[arg-type]
        if first == last:  # the usual case: one window, so that only the key needs grouping
            grouped = frame.group_by(self._keys).agg(self._partial)
            return grouped.select(pl.lit(first, pl.Int64).alias(PANE), pl.all())
        return frame.group_by(self.windowing.pane(pl.col(TIME)).alias(PANE), *self._keys).agg(
            self._partial
        )

    def singles(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """A partial of each event, for `merge` to reduce; None: an aggregate does not tell how.

        Where nearly all events are of different keys, to group them costs much and reduces nothing.
        """
        if self._single is None:
            return None
        pane = self.windowing.pane(pl.col(TIME)).alias(PANE)
        return frame.select(pane, *self._keys, *self._single)

    def merge(self, partials: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Reduce partials to one row per window and key; with a ttl, per key and session.

        At least one frame must be given.
        """
        return self._merged(partials).rows

    def merge_pane(
        self,
        partials: Sequence[pl.DataFrame],
        hashes: npt.NDArray[np.uint64] | None = None,
    ) -> Merged:
        """The same of one window, in the order of the keys' hashes if there are many.

        hashes: uint64[n], of the keys of all partials one after the other, if they are known.
        """
        return self._merged(partials, hashed=self._keys, hashes=hashes)

    def _merged(self, partials: Sequence[pl.DataFrame], **order: Any) -> Merged:
        stacked = pl.concat(partials)
        if self.sessions and self.sessions.several(stacked[FIRST], stacked[LAST]):
            return Merged(self._only_pane(self.sessions.partials(stacked, self._merge)))
        return merge_partials(stacked, [PANE, *self._keys], self._merge, **order)

    def merge_in_order(self, partials: pl.DataFrame) -> pl.DataFrame:
        """One row per window, key and PARTITION, in the order of the first partials of each. Not with a ttl."""
        keys = [PANE, *self._keys, PARTITION]
        return partials.group_by(keys, maintain_order=True).agg(self._merge)

    def _only_pane(self, grouped: pl.DataFrame) -> pl.DataFrame:
        return grouped.select(pl.lit(0, pl.Int64).alias(PANE), pl.all())

    def stack(self, partials: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """The partials as one frame, merged unless nearly all their keys differ, which would be for nothing."""
        if len(partials) == 1:
            return partials[0]
        stacked = pl.concat(partials)
        if any(self.row_schema[key].is_nested() for key in self.by):  # cannot be counted so
            return self.merge([stacked])
        different = stacked.select(pl.col(self._keys).approx_n_unique()).row(0)
        return stacked if max(different) > DIFFERENT * len(stacked) else self.merge([stacked])

    def result(self, merged: pl.DataFrame) -> pl.DataFrame:
        """What readers see of merged partials: window_start, window_end (if windowed), the keys, the columns."""
        size_ms, pane = self.windowing.size_ms, pl.col(PANE)
        bounds = (
            ()
            if size_ms is None
            else (pane.alias(WINDOW_START), (pane + size_ms).alias(WINDOW_END))
        )
        return merged.select(
            *bounds,
            *self._keys,
            *(aggregate.result(name) for name, aggregate in self.columns.items()),
        )

    def derived(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The fields of the derived event for each result row, in the order of its definition."""
        assert self.emit is not None
        return rows.select(name for name in self.emit.__struct_fields__ if name in self.row_schema)

    def key_text(self, frame: pl.DataFrame) -> pl.Series:
        """The key of each row as text: a single string as it is, otherwise as JSON. No two keys share one."""
        if self._one_text:
            key = frame.get_column(self.by[0])
            odd = key.str.starts_with("\0")
            if not key.null_count() and not odd.any():
                return key
            # a null is "\0", so a text that begins with one gets another
            apart = pl.when(odd).then("\0" + key).otherwise(key).fill_null("\0")
            return frame.select(apart.alias(key.name)).to_series()
        floats = [name for name in self.by if self.row_schema[name].is_float()]
        one_zero = [
            pl.when(pl.col(name) == 0).then(0.0).otherwise(pl.col(name)).alias(name)
            for name in floats
        ]
        frame = frame.with_columns(one_zero) if floats else frame
        return frame.select(pl.struct(self._keys).struct.json_encode()).to_series()

    def one_key_text(self, key: tuple[Any, ...]) -> str | None:
        """The same for one key that is a plain text; None: it takes a frame."""
        plain = self._one_text and isinstance(key[0], str) and not key[0].startswith("\0")
        return key[0] if plain else None

    @property
    def _one_text(self) -> bool:
        return len(self.by) == 1 and self.row_schema[self.by[0]] == pl.String()

    def __repr__(self) -> str:
        return f"Table({self.name!r})"


def by_name(tables: Iterable[Table]) -> dict[str, Table]:
    """Tables by their names; one that is given several times, as an import does it, is there once.

    TableDefinitionError: two of them have one name.
    """
    found: dict[str, Table] = {}
    for table in tables:
        if found.setdefault(table.name, table) is not table:
            raise TableDefinitionError(
                f"two tables are named {table.name!r}; give one of them another name"
            )
    return found


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]

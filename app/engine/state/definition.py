"""What a table's state depends on, as it stands beside the state; and what of it may change.

Columns may come and go: the state adapts as it is read. Another key, window, source or aggregate would make
other numbers of the same state, and is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec
import polars as pl

from app.engine.aggregates import Aggregate
from app.engine.language.table import Table
from app.engine.state.store import StateRefusedError
from app.events.event import event_type

DEFINITION_KEY = b"d"
"""The key of the record that holds it, written when it changes."""


class Column(msgspec.Struct, frozen=True):
    """kind: the aggregate, and the types of what is kept of it. since: the checkpoint that first counted it."""

    kind: str
    since: int = 0


class Definition(msgspec.Struct, frozen=True):
    """source: the event type and its topic. partitions: of the table. key: the type of each field."""

    source: str
    repartitioned: bool
    partitions: int
    key: dict[str, str]
    window_ms: int | None
    ttl_ms: int | None
    columns: dict[str, Column]

    @classmethod
    def of(cls, table: Table, partitions: int) -> Definition:
        """That of a table of which nothing is written yet, in so many partitions."""
        by = "" if table.fed_by is None else f" by agents of {event_type(table.fed_by).name}"
        kinds = table.partial_schema
        return cls(
            f"{event_type(table.source).name}{by} on {table.topic}",
            not table.aligned,
            partitions,
            {key: str(table.row_schema[key]) for key in table.by},
            table.windowing.size_ms,
            table.ttl_ms,
            {
                name: Column(_kind(item, (kinds[part] for part in table.parts[name])))
                for name, item in table.columns.items()
            },
        )

    def follow(self, table: Table, partitions: int, sequence: int) -> Definition:
        """The table's definition now, upon state of this one; new columns count from this checkpoint on.

        StateRefusedError: the state cannot become one of it.
        """
        now = Definition.of(table, partitions)
        if self.partitions != partitions:
            raise StateRefusedError(
                f"table {table.name!r} was kept in {self.partitions} partitions, and its topics have {partitions} now: "
                "its keys are in other partitions than before; give the table a new name"
            )
        reasons = [*self._otherwise(now), *self._null_emitted(table, now)]
        if reasons:
            raise StateRefusedError(
                f"table {table.name!r} is defined otherwise than when its state was written: {'; '.join(reasons)}. "
                f"Rebuild it from its source (faust -A app rebuild {table.name}), give the new definition a new name, "
                "or restore the old one"
            )
        columns = {
            name: self.columns.get(name) or Column(column.kind, sequence)
            for name, column in now.columns.items()
        }
        return msgspec.structs.replace(now, columns=columns)

    def digests(self) -> dict[str, str]:
        """Of each column, and as "" of all else that partials depend on: short texts to compare."""
        rest = f"{self.source} {self.key} {self.window_ms} {self.ttl_ms}"
        kinds = {"": rest, **{name: column.kind for name, column in self.columns.items()}}
        return {name: hashlib.sha256(text.encode()).hexdigest()[:8] for name, text in kinds.items()}

    def _otherwise(self, now: Definition) -> Iterable[str]:
        """What has changed that the state cannot follow, in words."""
        if self.key != now.key:
            yield f"its key was {_words(self.key)} and is {_words(now.key)}"
        if self.window_ms != now.window_ms:
            yield f"its windows were {_size(self.window_ms)} and are {_size(now.window_ms)}"
        if self.ttl_ms != now.ttl_ms:
            yield f"its ttl was {_size(self.ttl_ms)} and is {_size(now.ttl_ms)}"
        if self.source != now.source:
            yield f"its source was {self.source} and is {now.source}"
        elif self.repartitioned != now.repartitioned:
            yield "whether its key is its topic's key has changed"
        for name, column in now.columns.items():
            if name in self.columns and self.columns[name].kind != column.kind:
                before = self.columns[name].kind
                yield (
                    f"its column {name!r} was {before} and is {column.kind} (a column of another name "
                    "would be counted from now on)"
                )

    def _null_emitted(self, table: Table, now: Definition) -> Iterable[str]:
        """New columns that are null for what was counted before, and must not be when they are emitted."""
        for name in sorted(now.columns.keys() - self.columns.keys()):
            if table.emits_filled(name) and table.of_nothing(name) is None:
                yield (
                    f"its new column {name!r} is null for what was counted before, and is emitted as a field that "
                    "must not be: declare the field as `| None`"
                )


class Migration(msgspec.Struct, frozen=True):
    """Columns that a new definition adds to a state, and drops from it."""

    added: tuple[str, ...]
    dropped: tuple[str, ...]

    @classmethod
    def between(cls, before: Definition, now: Definition) -> Migration:
        """What changes from one to the other."""
        return cls(
            tuple(name for name in now.columns if name not in before.columns),
            tuple(name for name in before.columns if name not in now.columns),
        )

    def __bool__(self) -> bool:
        return bool(self.added or self.dropped)


def _kind(aggregate: Aggregate, kept: Iterable[pl.DataType]) -> str:
    """An aggregate as text: the same text, the same numbers."""
    where = "" if aggregate.where is None else f" where {_condition(aggregate.where)}"
    column = "" if aggregate.column is None else repr(aggregate.column)
    kinds = ", ".join(map(str, kept))
    return f"{type(aggregate).__name__.lower()}({column}){where}{f' as {kinds}' if kinds else ''}"


def _condition(where: pl.Expr) -> str:
    with pl.Config(fmt_table_cell_list_len=-1, fmt_str_lengths=1 << 20):
        text = str(where)
    if "Series" in text:  # its values are not shown
        digest = hashlib.sha256(where.meta.serialize()).hexdigest()[:16]
        return f"{text} {digest}"
    return text


def _words(key: dict[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in key.items())


def _size(window_ms: int | None) -> str:
    return "none" if window_ms is None else f"{window_ms} ms"

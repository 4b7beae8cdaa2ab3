"""How large one row of a table can become."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from app.engine.language.table import Table
from app.engine.language.table_checks import TableDefinitionError


def check_row_sizes(tables: Iterable[Table], event_bytes_max: int, record_bytes_max: int) -> None:
    """A row is sent as one record, and each of its texts can come from another event. TableDefinitionError."""
    for table in tables:
        texts = sum(kind == pl.String or kind.is_nested() for kind in table.partial_schema.values())
        if texts * event_bytes_max > record_bytes_max:
            raise TableDefinitionError(
                f"table {table.name!r}: a row has {texts} texts of up to {event_bytes_max >> 10} kB "
                f"(HEADRACE_EVENT_KB_MAX), more than the {record_bytes_max >> 20} MB that a record can have; lower "
                "that, or make two tables of it"
            )

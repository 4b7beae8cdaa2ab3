"""The derived events of closed windows."""

from __future__ import annotations

import polars as pl

from app.engine.language.batch import Emission
from app.engine.language.table import Table
from app.engine.windows import WINDOW_END, WINDOW_START


def window_emission(table: Table, partition: int, rows: pl.DataFrame) -> Emission:
    """A derived event per row of a closed window; the ids follow from table, partition, window and key."""
    assert table.emit is not None
    origin = f"{table.name}:{partition}:{rows[WINDOW_START][0]}:"
    times = rows[WINDOW_END] - 1  # inside the window: a minute's total belongs to its minute
    return Emission(
        table.emit,
        table.derived(rows),
        table.key_text(rows),
        times,
        table.name,
        partition,
        id_prefix=origin,
    )

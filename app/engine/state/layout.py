"""How the partials of a table stand in the segments of one of its partitions.

A segment keeps the columns that the table had when it was written. A column that was added later has a name
of its own there, so that one that was dropped and has come back does not find what it had before.
"""

from __future__ import annotations

import polars as pl

from app.engine.language.table import Table
from app.engine.state.definition import Definition


class Layout:
    """Turns frames of segments into partials of the table as it is now, and back.

    What a segment does not have is null, which adds nothing to any aggregate.
    """

    def __init__(self, table: Table, definition: Definition) -> None:
        stored = dict.fromkeys(table.partial_schema, "")
        for name, column in definition.columns.items():
            for part in table.parts[name] if column.since else ():
                stored[part] = f"_{column.since}:{part}"
        self._renamed = {part: name for part, name in stored.items() if name}
        self._stored = [name or part for part, name in stored.items()]
        self._read = [
            (name or part, part, table.partial_schema[part]) for part, name in stored.items()
        ]

    def read(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The partials of a segment's frame."""
        if not self._renamed and frame.columns == self._stored:
            return frame
        held = set(frame.columns)
        return frame.select(
            (pl.col(name) if name in held else pl.lit(None, kind)).alias(part)
            for name, part, kind in self._read
        )

    def write(self, partials: pl.DataFrame) -> pl.DataFrame:
        """The frame of a segment for these partials."""
        return partials.rename(self._renamed) if self._renamed else partials

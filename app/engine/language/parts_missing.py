"""A read that could not get at all of the table."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl


class PartsMissingError(Exception):
    """Some partitions of a table have no worker that answers for them now; try again after the rebalance.

    table:   its name.
    missing: partition to the reason.
    count:   of all partitions of the table.
    rows:    what the other partitions have. A scan has given its rows before.
    """

    def __init__(
        self, table: str, missing: Mapping[int, str], count: int, rows: pl.DataFrame
    ) -> None:
        self.table = table
        self.missing = dict(sorted(missing.items()))
        self.count = count
        self.rows = rows
        super().__init__(table, self.missing)

    def __str__(self) -> str:
        by_reason: dict[str, list[str]] = {}
        for partition, reason in self.missing.items():
            by_reason.setdefault(reason, []).append(str(partition))
        parts = "; ".join(f"{', '.join(them)} ({why})" for why, them in by_reason.items())
        return f"table {self.table!r}: missing of its {self.count} partitions: {parts}"

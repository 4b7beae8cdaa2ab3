"""Compares what a job has emitted with the one-shot answer."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

RELATIVE_TOLERANCE = 1e-9
"""Of sums: floating-point addition depends on the order."""
SHOWN_MAX = 5
_ROW = {
    "user": pl.String,
    "window_start": pl.Int64,
    "events": pl.Int64,
    "amount": pl.Float64,
    "largest": pl.Float64,
}


def emitted(values: Sequence[bytes]) -> pl.DataFrame:
    """The derived events (JSON) as a frame: user, window_start, events, amount, largest."""
    if not values:
        return pl.DataFrame(schema=_ROW)
    return pl.read_ndjson(b"\n".join(values), schema=_ROW)


def differences(answer: pl.DataFrame, found: pl.DataFrame) -> list[str]:
    """What is wrong, in words; empty when every row is there once and right.

    Counts and maxima must be equal, sums up to RELATIVE_TOLERANCE.
    """
    key = ["user", "window_start"]
    both = answer.join(found, on=key, how="full", suffix="_found", coalesce=True, nulls_equal=True)
    near = (pl.col("amount_found") - pl.col("amount")).abs() <= (
        RELATIVE_TOLERANCE * pl.col("amount").abs()
    )
    same = (pl.col("events_found") == pl.col("events")) & (
        pl.col("largest_found") == pl.col("largest")
    )
    missing, unknown = pl.col("events_found").is_null(), pl.col("events").is_null()
    wrong = ~missing & ~unknown & ~(near & same).fill_null(False)
    return [
        *_words("emitted twice", found.filter(found.select(key).is_duplicated())),
        *_words("missing", both.filter(missing)),
        *_words("not in the answer", both.filter(unknown)),
        *_words("with wrong values", both.filter(wrong)),
    ]


def _words(fault: str, rows: pl.DataFrame) -> list[str]:
    if rows.is_empty():
        return []
    shown = "; ".join(str(row) for row in rows.head(SHOWN_MAX).iter_rows())
    return [f"{rows.height} rows {fault}, such as {shown}"]

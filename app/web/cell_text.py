"""Values as people read them, each with its exact form for the hover."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import polars as pl

from app.engine.reading.restore_progress import Restoring

_LONG_CHARACTERS = 32


class Cell(NamedTuple):
    """`text` is shown, `hint` on hover; an empty hint is none."""

    text: str
    hint: str = ""


NOTHING = Cell("–", "null")


def restoring(progress: Restoring) -> Cell:
    """How far a table's restore is."""
    left = progress.seconds_left
    text = f"restoring, {progress.percent} %"
    if left is not None:
        text += f", {_span(left)} left"
    return Cell(text, f"{progress.done:,} of {progress.total:,} changelog offsets")


def _span(seconds: float) -> str:
    """A time that is only an estimate."""
    if seconds < 100:
        return f"about {math.ceil(seconds)} s"
    minutes = seconds / 60
    return f"about {minutes:.0f} min" if minutes < 100 else f"about {minutes / 60:.0f} h"


def is_number(dtype: pl.DataType) -> bool:
    """Whether a column is set right-aligned, its digits under each other."""
    return dtype.is_numeric()


def cells(column: pl.Series, *, plain: bool) -> list[Cell]:
    """The cells of one column of a page. `plain` writes integers as they are, as keys are."""
    dtype = column.dtype
    show: Callable[[Any], Cell]
    if isinstance(dtype, pl.Datetime):
        column = column.dt.epoch("ms")
        show = time
    elif dtype.is_float():
        show = _float_format(column)
    elif dtype.is_integer() and not plain:
        show = _integer
    else:
        show = _text
    return [NOTHING if value is None else show(value) for value in column.to_list()]


def time(ms: int) -> Cell:
    """A moment, to the second unless it has milliseconds."""
    return Cell(" ".join(_date_and_clock(ms)), f"{ms} ms") if _is_date(ms) else Cell(f"{ms} ms")


@functools.lru_cache(maxsize=1024)
def window(start_ms: int, end_ms: int) -> Cell:
    """A window, with the date once when it ends on the same day."""
    if not (_is_date(start_ms) and _is_date(end_ms)):
        return Cell(f"{start_ms} ms – {end_ms} ms")
    start, (date, clock) = _date_and_clock(start_ms), _date_and_clock(end_ms)
    end = clock if date == start[0] else f"{date} {clock}"
    return Cell(f"{' '.join(start)} – {end}", f"{start_ms} ms to {end_ms} ms (UTC)")


def _float_format(column: pl.Series) -> Callable[[float], Cell]:
    """One number of decimals for the whole column, so that the points stand under each other."""
    finite = [abs(value) for value in column.drop_nulls().to_list() if math.isfinite(value)]
    largest = max(finite, default=0.0)
    form = ",.4f" if 0 < largest <= 1 else ",.2f"
    if largest >= 1e15 or 0 < largest < 1e-3:
        form = ".4e"

    def show(value: float) -> Cell:
        text = format(value, form)
        exact = float(text.replace(",", "")) == value or math.isnan(value)
        return Cell(text, "" if exact else repr(value))

    return show


def _integer(value: int) -> Cell:
    return Cell(f"{value:,}")


def _text(value: Any) -> Cell:
    if isinstance(value, bool):
        return Cell(str(value).lower())
    if isinstance(value, list | dict):
        value = json.dumps(value, default=str, ensure_ascii=False)
    text = str(value)
    if not text:
        return Cell('""', "empty text")
    return Cell(text, text if len(text) > _LONG_CHARACTERS else "")


def _is_date(ms: int) -> bool:
    return -62_135_596_800_000 <= ms < 253_402_300_800_000  # the years 1 to 9999


def _date_and_clock(ms: int) -> tuple[str, str]:
    seconds, rest = divmod(ms, 1000)
    date, clock = datetime.fromtimestamp(seconds, UTC).isoformat()[:19].split("T")
    return date, f"{clock}.{rest:03}" if rest else clock

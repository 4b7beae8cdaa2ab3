"""The event type, tables and aggregates that the engine's property tests work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl
from hypothesis import strategies as st

from app.engine.aggregates import Aggregate, count, latest, maximum, mean, minimum, total
from app.engine.language.table import Table
from app.engine.windows import Tumbling
from app.events import Event

Row = Mapping[str, Any]


class Sale(Event, type="test.sale", topic="sales", key="shop"):
    """One of each kind of field, most of them optional."""

    shop: str
    region: str | None = None
    size: int | None = None
    price: float | None = None
    gift: bool | None = None
    sold_at: datetime | None = None


class SaleWindow(Event, type="test.sale_window", topic="sale-windows"):
    """What any table of sales can emit: only the window is always there."""

    window_start: int
    window_end: int
    shop: str | None = None
    region: str | None = None
    size: int | None = None
    gift: bool | None = None
    events: int | None = None
    gifts: int | None = None
    big: int | None = None
    size_total: int | None = None
    price_total: float | None = None
    price_mean: float | None = None
    gift_price_mean: float | None = None
    size_min: int | None = None
    big_size_min: int | None = None
    region_min: str | None = None
    region_max: str | None = None
    price_max: float | None = None
    sold_at_max: datetime | None = None
    size_last: int | None = None
    gift_region_last: str | None = None


def _big(row: Row) -> bool:
    return row["size"] is not None and row["size"] > 2


def _gift(row: Row) -> bool:
    return row["gift"] is True


def _always(row: Row) -> bool:
    return True


Plain = Callable[[list[Row]], Any]


def _fold(fold: Callable[[list[Any]], Any], column: str, where: Callable[[Row], bool]) -> Plain:
    """The aggregate of the values that are there, over the rows that meet the condition."""
    return lambda rows: fold(
        [row[column] for row in rows if where(row) and row[column] is not None]
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _last(column: str, where: Callable[[Row], bool]) -> Plain:
    """The value of the last event that has one; rows have their time and offset beside the fields."""

    def last(rows: list[Row]) -> Any:
        found = [(row["_time"], row["_offset"], row[column]) for row in rows if where(row)]
        return max((item for item in found if item[2] is not None), default=(None,))[-1]

    return last


def _least(values: list[Any]) -> Any:
    return min(values, default=None)


def _most(values: list[Any]) -> Any:
    return max(values, default=None)


COLUMNS: dict[str, tuple[Aggregate, Plain]] = {
    "events": (count(), len),
    "gifts": (count(where=pl.col("gift")), lambda rows: sum(map(_gift, rows))),
    "big": (count(where=pl.col("size") > 2), lambda rows: sum(map(_big, rows))),
    "size_total": (total("size"), _fold(sum, "size", _always)),
    "price_total": (total("price", where=pl.col("gift")), _fold(sum, "price", _gift)),
    "price_mean": (mean("price"), _fold(_mean, "price", _always)),
    "gift_price_mean": (mean("price", where=pl.col("gift")), _fold(_mean, "price", _gift)),
    "size_min": (minimum("size"), _fold(_least, "size", _always)),
    "big_size_min": (minimum("size", where=pl.col("size") > 2), _fold(_least, "size", _big)),
    "region_min": (minimum("region"), _fold(_least, "region", _always)),
    "region_max": (maximum("region", where=pl.col("gift")), _fold(_most, "region", _gift)),
    "price_max": (maximum("price"), _fold(_most, "price", _always)),
    "sold_at_max": (maximum("sold_at"), _fold(_most, "sold_at", _always)),
    "size_last": (latest("size"), _last("size", _always)),
    "gift_region_last": (latest("region", where=pl.col("gift")), _last("region", _gift)),
}
"""Every aggregate, with the same in plain Python."""

KEYS = [
    ("shop",),
    ("region",),
    ("size",),
    ("gift",),
    ("region", "gift"),
    ("shop", "region", "size"),
]

TEXTS = ["", "a", "b", "é", "日本", "line\u2028end", "\0", "\0\0", '"\\', "null"]


def table(name: str, by: tuple[str, ...], window: Tumbling | None) -> Table:
    """A table of sales with every aggregate."""
    aggregates = {column: item for column, (item, _) in COLUMNS.items()}
    emit = SaleWindow if window else None
    return Table(name, source=Sale, by=by, window=window, columns=aggregates, emit=emit)


def mortal(by: tuple[str, ...], ttl: int) -> Table:
    """A table of sales with every aggregate, whose keys have a time to live."""
    aggregates = {column: item for column, (item, _) in COLUMNS.items()}
    return Table("sales", source=Sale, by=by, ttl=ttl, columns=aggregates)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The values, or None."""
    return st.none() | values


windows = st.none() | st.builds(
    Tumbling,
    size_ms=st.sampled_from([10, 7]),
    grace_ms=st.sampled_from([0, 5, 20]),
    keep_ms=st.sampled_from([0, 13, 1000]),
)
sales = st.builds(
    Sale,
    shop=st.sampled_from(TEXTS),
    region=maybe(st.sampled_from(TEXTS)),
    size=maybe(st.integers(-2, 5) | st.integers(-(2**40), 2**40)),
    price=maybe(st.integers(-4000, 4000).map(lambda quarters: quarters / 4)),  # sums are exact
    gift=maybe(st.booleans()),
    sold_at=maybe(
        st.integers(-(10**11), 10**11).map(
            lambda seconds: datetime.fromtimestamp(seconds // 100, UTC)
        )
    ),
)

"""The books: for each table of the shop, the same figures, told once more and reckoned plainly.

They are on purpose not derived from `tables/`: two tellings that agree are worth more than one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl

from app.events.cart_updated import CartUpdated
from app.events.event import Event
from app.events.large_order import LargeOrder
from app.events.order_placed import OrderPlaced
from app.events.page_viewed import PageViewed
from app.events.payment_attempted import PaymentAttempted
from app.events.payment_failed import PaymentFailed
from app.events.payment_reminder import PaymentReminder
from app.events.shipment_sent import ShipmentSent
from app.shop import assortment as shop

Where = Callable[[pl.DataFrame], pl.Series]


@dataclass(frozen=True)
class Figure:
    """One column of a book: what is reckoned of which field, over which of the events."""

    kind: Literal["count", "total", "mean", "smallest", "largest"]
    field: str = ""
    where: Where | None = None


@dataclass(frozen=True)
class Book:
    """One table's figures per window and key. keys: all values that each part of the key can have."""

    table: str
    source: type[Event]
    size_ms: int
    grace_ms: int
    keys: Mapping[str, pl.Series]
    figures: Mapping[str, Figure]

    @cached_property
    def key_count(self) -> int:
        """How many keys there can be."""
        return math.prod(len(values) for values in self.keys.values())

    @cached_property
    def _numbers(self) -> dict[str, dict[str, int]]:
        return {name: {v: n for n, v in enumerate(values)} for name, values in self.keys.items()}

    def codes(self, events: pl.DataFrame) -> np.ndarray:
        """The number of each event's key, below `key_count`."""
        codes = np.zeros(len(events), np.int64)
        for name, numbers in self._numbers.items():
            part = map(numbers.__getitem__, events[name].to_list())
            codes = codes * len(numbers) + np.fromiter(part, np.int64, len(events))
        return codes

    def key_columns(self, codes: np.ndarray) -> dict[str, list[str]]:
        """The keys of these numbers."""
        columns: dict[str, list[str]] = {}
        for name in reversed(list(self.keys)):
            codes, part = np.divmod(codes, len(self.keys[name]))
            columns[name] = self.keys[name][part].to_list()
        return dict(reversed(list(columns.items())))


BOOKS = (
    Book(
        "revenue_per_minute",
        OrderPlaced,
        60_000,
        10_000,
        {"country": shop.COUNTRIES},
        {
            "orders": Figure("count"),
            "revenue": Figure("total", "amount"),
            "mean_amount": Figure("mean", "amount"),
            "largest_amount": Figure("largest", "amount"),
        },
    ),
    Book(
        "orders_per_customer",
        OrderPlaced,
        60_000,
        10_000,
        {"customer_id": shop.CUSTOMERS},
        {"orders": Figure("count"), "spent": Figure("total", "amount")},
    ),
    Book(
        "page_views",
        PageViewed,
        10_000,
        10_000,
        {"page": shop.PAGES},
        {
            "views": Figure("count"),
            "mobile_views": Figure("count", where=lambda events: events["mobile"]),
            "mean_load_ms": Figure("mean", "load_ms"),
            "slowest_load_ms": Figure("largest", "load_ms"),
        },
    ),
    Book(
        "payment_failures",
        PaymentAttempted,
        60_000,
        10_000,
        {"method": shop.METHODS},
        {
            "attempts": Figure("count"),
            "failures": Figure("total", "failed"),
            "failure_rate": Figure("mean", "failed"),
            "failed_amount": Figure("total", "amount", lambda events: events["failed"] == 1),
        },
    ),
    Book(
        "product_demand",
        CartUpdated,
        60_000,
        10_000,
        {"product": shop.PRODUCTS},
        {
            "changes": Figure("count"),
            "added": Figure("total", "quantity", lambda events: events["quantity"] > 0),
            "removed": Figure("total", "quantity", lambda events: events["quantity"] < 0),
            "smallest_cart": Figure("smallest", "cart_value"),
            "largest_cart": Figure("largest", "cart_value"),
        },
    ),
    Book(
        "shipments_per_minute",
        ShipmentSent,
        60_000,
        10_000,
        {"carrier": shop.CARRIERS, "country": shop.COUNTRIES},
        {
            "parcels": Figure("count"),
            "express_parcels": Figure("count", where=lambda events: events["express"]),
            "weight_kg": Figure("total", "weight_kg"),
        },
    ),
)


@dataclass(frozen=True)
class Reaction:
    """What an agent makes of single events: one `derived` event of each that meets `where`."""

    source: type[Event]
    derived: type[Event]
    where: Where | None = None


REACTIONS = (
    Reaction(OrderPlaced, LargeOrder, lambda events: events["amount"] > 1000),
    Reaction(PaymentFailed, PaymentReminder),
)

READ = {item.source for item in (*BOOKS, *REACTIONS)}
"""The types that somebody reads; a broken event of another type is passed over."""
LATE_AFTER_MS = max(book.size_ms + book.grace_ms for book in BOOKS)

"""What happens in the shop: views lead to carts, carts to orders, orders to payments and parcels."""

from __future__ import annotations

import numpy as np
import polars as pl

from app.events.cart_updated import CartUpdated
from app.events.event import Event
from app.events.order_placed import OrderPlaced
from app.events.page_viewed import PageViewed
from app.events.payment_attempted import PaymentAttempted
from app.events.payment_failed import PaymentFailed
from app.events.payment_succeeded import PaymentSucceeded
from app.events.shipment_sent import ShipmentSent
from app.shop import assortment as shop
from app.shop.assortment import favourites

TIME = "_time"
"""The column of every frame with the event time (ms)."""

SOURCES: tuple[type[Event], ...] = (
    PageViewed,
    CartUpdated,
    OrderPlaced,
    PaymentAttempted,
    PaymentSucceeded,
    PaymentFailed,
    ShipmentSent,
)

_SHARES = (0.7, 0.19, 0.11)  # of what visitors do: views, carts, orders
_SECOND_TRY_FAILS = 0.4

Frames = dict[type[Event], pl.DataFrame]


class Traffic:
    """Makes the shop's events slice by slice; equal seeds and slices give equal events.

    What follows from an order (payments, the parcel) is put off until its time has come.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._orders = 0
        self._later: dict[type[Event], list[pl.DataFrame]] = {}
        count = shop.VISITOR_COUNT
        self._country_of = self._random.choice(
            len(shop.COUNTRIES), count, p=shop.COUNTRY_SHARES
        ).astype(np.uint32)
        self._page_limits = np.cumsum(favourites(len(shop.PAGES)))
        self._product_limits = np.cumsum(favourites(len(shop.PRODUCTS)))
        self._method_limits = np.cumsum(shop.METHOD_SHARES)

    def slice(self, start_ms: int, end_ms: int, count: int) -> Frames:
        """About `count` events with times in [start_ms, end_ms): per type, in the order of time."""
        due = self._due(end_ms)
        fresh = max(0, count - sum(map(len, due.values())))
        views, carts, orders = self._random.multinomial(fresh, _SHARES).tolist()
        visitors = self._some(shop.VISITOR_COUNT, fresh)
        frames: Frames = {PageViewed: self._views(self._times(start_ms, end_ms, views), visitors)}
        frames[CartUpdated] = self._carts(self._times(start_ms, end_ms, carts), visitors)
        frames[OrderPlaced] = self._place(self._times(start_ms, end_ms, orders), visitors)
        return {**frames, **due}

    def _times(self, start_ms: int, end_ms: int, count: int) -> np.ndarray:
        return np.sort(self._random.integers(start_ms, max(end_ms, start_ms + 1), count))

    def _some(self, choices: int, count: int) -> np.ndarray:
        return self._random.integers(0, choices, count, dtype=np.uint32)

    def _by_share(self, limits: np.ndarray, count: int) -> np.ndarray:
        """Codes whose cumulated shares are `limits`."""
        codes = np.searchsorted(limits, self._random.random(count))
        return np.minimum(codes, len(limits) - 1).astype(np.uint32)

    def _views(self, times: np.ndarray, visitors: np.ndarray) -> pl.DataFrame:
        count = len(times)
        return pl.DataFrame(
            {
                "visitor_id": shop.VISITORS[visitors[:count]],
                "page": shop.PAGES[self._by_share(self._page_limits, count)],
                "mobile": self._random.random(count) < 0.6,
                "load_ms": self._random.gamma(3.0, 120.0, count).astype(np.int64) + 20,
                "referrer": shop.REFERRERS[self._some(len(shop.REFERRERS), count)],
                TIME: times,
            }
        )

    def _carts(self, times: np.ndarray, visitors: np.ndarray) -> pl.DataFrame:
        count = len(times)
        quantity = self._random.integers(1, 4, count)
        taken_out = self._random.random(count) < 0.2
        return pl.DataFrame(
            {
                "visitor_id": shop.VISITORS[visitors[:count]],
                "product": shop.PRODUCTS[self._by_share(self._product_limits, count)],
                "quantity": np.where(taken_out, -quantity, quantity),
                "cart_value": self._amounts(count),
                TIME: times,
            }
        )

    def _amounts(self, count: int) -> np.ndarray:
        """Prices with two decimals: most below a hundred, one in four hundred above a thousand."""
        return np.round(self._random.lognormal(3.8, 1.1, count), 2)

    def _place(self, times: np.ndarray, visitors: np.ndarray) -> pl.DataFrame:
        """Orders, by visitors who have just filled their carts; what follows is put off."""
        count = len(times)
        buyers = visitors[:count]
        first = self._orders
        self._orders += count
        numbers = range(first, first + count)
        orders = pl.DataFrame(
            {
                "order_id": pl.Series([f"o{number:09d}" for number in numbers], dtype=pl.String),
                "customer_id": shop.CUSTOMERS[buyers],
                "country": shop.COUNTRIES[self._country_of[buyers]],
                "amount": self._amounts(count),
                "items": self._random.integers(1, 6, count),
                "coupon": shop.COUPONS[self._some(len(shop.COUPONS), count)],
                TIME: times,
            }
        )
        if count:
            self._follow_up(orders)
        return orders

    def _follow_up(self, orders: pl.DataFrame) -> None:
        """Payments a few seconds later, once more after a failure, then the parcel."""
        count = len(orders)
        method = self._by_share(self._method_limits, count)
        failed = self._random.random(count) < shop.METHOD_FAILURES[method]
        given_up = failed & (self._random.random(count) < _SECOND_TRY_FAILS)
        tried = orders[TIME].to_numpy() + self._random.integers(500, 3000, count)
        again = tried + self._random.integers(1000, 4000, count)
        settled = np.where(failed, again, tried) + 50
        orders = orders.with_columns(shop.METHODS[method])
        for times, chosen, failures in ((tried, failed | True, failed), (again, failed, given_up)):
            attempts = orders.select("order_id", "method", "amount")
            flags = pl.Series("failed", failures.astype(np.int64))
            self._put_off(PaymentAttempted, attempts.with_columns(flags), times, chosen)
        payments = orders.select("order_id", "customer_id", "method", "amount")
        self._put_off(PaymentSucceeded, payments, settled, ~given_up)
        reasons = shop.REASONS[self._some(len(shop.REASONS), count)]
        self._put_off(PaymentFailed, payments.with_columns(reasons), settled, given_up)
        parcels = orders.select(
            "order_id", shop.CARRIERS[self._some(len(shop.CARRIERS), count)], "country"
        ).with_columns(
            pl.Series("weight_kg", np.round(self._random.gamma(2.0, 2.0, count) + 0.1, 2)),
            pl.Series("express", self._random.random(count) < 0.15),
        )
        sent = settled + self._random.integers(2000, 8000, count)
        self._put_off(ShipmentSent, parcels, sent, ~given_up)

    def _put_off(
        self, cls: type[Event], frame: pl.DataFrame, times: np.ndarray, chosen: np.ndarray
    ) -> None:
        later = frame.with_columns(pl.Series(TIME, times)).filter(pl.Series(chosen))
        self._later.setdefault(cls, []).append(later)

    def _due(self, end_ms: int) -> Frames:
        """Take what was put off until before this time."""
        due: Frames = {}
        for cls, frames in self._later.items():
            waiting = pl.concat(frames)
            ripe = waiting[TIME] < end_ms
            due[cls] = waiting.filter(ripe).sort(TIME, maintain_order=True)
            self._later[cls] = [waiting.filter(~ripe)]
        return due

"""An order has been placed."""

from __future__ import annotations

from app import Event


class OrderPlaced(Event, type="order.placed", topic="orders", key="customer_id"):
    """A customer has placed an order."""

    order_id: str
    customer_id: str
    country: str
    amount: float
    """In the shop's currency."""
    items: int
    coupon: str | None = None

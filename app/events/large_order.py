"""An order is large enough to be looked at."""

from __future__ import annotations

from app import Event


class LargeOrder(Event, type="order.large", topic="large-orders", key="customer_id"):
    """An order is so large that somebody should look at it before it is sent."""

    order_id: str
    customer_id: str
    country: str
    amount: float

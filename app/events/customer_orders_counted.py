"""A customer's orders within one minute are counted."""

from __future__ import annotations

from app import Event


class CustomerOrdersCounted(
    Event, type="customer.orders_counted", topic="customer-orders", key="customer_id"
):
    """What a customer has ordered within one minute; times in ms."""

    window_start: int
    window_end: int
    customer_id: str
    orders: int
    spent: float

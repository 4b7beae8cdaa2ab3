"""The payment of an order has failed for good."""

from __future__ import annotations

from app import Event


class PaymentFailed(Event, type="payment.failed", topic="payments", key="order_id"):
    """All tries to collect an order's amount have failed."""

    order_id: str
    customer_id: str
    method: str
    amount: float
    reason: str

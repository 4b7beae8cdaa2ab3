"""A payment has been tried."""

from __future__ import annotations

from app import Event


class PaymentAttempted(Event, type="payment.attempted", topic="payments", key="order_id"):
    """A payment provider has tried to collect an order's amount, for the first time or again."""

    order_id: str
    method: str
    amount: float
    failed: int
    """1 when the try has failed, else 0: the mean is the failure rate."""

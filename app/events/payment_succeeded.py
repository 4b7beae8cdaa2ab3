"""An order has been paid."""

from __future__ import annotations

from app import Event


class PaymentSucceeded(Event, type="payment.succeeded", topic="payments", key="order_id"):
    """An order has been paid."""

    order_id: str
    customer_id: str
    method: str
    amount: float

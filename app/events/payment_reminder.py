"""A customer should be asked to pay in another way."""

from __future__ import annotations

from app import Event


class PaymentReminder(Event, type="payment.reminder", topic="payment-reminders", key="customer_id"):
    """What to write to a customer whose payment has failed."""

    order_id: str
    customer_id: str
    suggested_method: str
    message: str

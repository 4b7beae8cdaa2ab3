"""A payment method's failure rate of one minute is known."""

from __future__ import annotations

from app import Event


class PaymentFailureRate(
    Event, type="payment.failure_rate", topic="payment-failure-rates", key="method"
):
    """How many tries with a payment method have failed within one minute; times in ms."""

    window_start: int
    window_end: int
    method: str
    attempts: int
    failures: int
    failure_rate: float
    failed_amount: float

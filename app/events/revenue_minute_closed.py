"""A country's minute of revenue is complete."""

from __future__ import annotations

from app import Event


class RevenueMinuteClosed(
    Event, type="revenue.minute_closed", topic="revenue-minutes", key="country"
):
    """What a country has ordered within one minute; times in ms."""

    window_start: int
    window_end: int
    country: str
    orders: int
    revenue: float
    mean_amount: float
    largest_amount: float

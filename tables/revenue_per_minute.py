"""Revenue per minute and country."""

from __future__ import annotations

from app import Table, count, maximum, mean, total, tumbling
from app.events.order_placed import OrderPlaced
from app.events.revenue_minute_closed import RevenueMinuteClosed

revenue_per_minute = Table(
    "revenue_per_minute",
    description="What each country orders, minute by minute.",
    source=OrderPlaced,
    by="country",
    window=tumbling("1m", grace="10s"),
    columns={
        "orders": count(),
        "revenue": total("amount"),
        "mean_amount": mean("amount"),
        "largest_amount": maximum("amount"),
    },
    emit=RevenueMinuteClosed,
)

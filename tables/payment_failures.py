"""Payment failure rate per minute and method."""

from __future__ import annotations

import polars as pl

from app import Table, count, mean, total, tumbling
from app.events.payment_attempted import PaymentAttempted
from app.events.payment_failure_rate import PaymentFailureRate

failed = pl.col("failed") == 1

payment_failures = Table(
    "payment_failures",
    description="The share of failed tries of each payment method, minute by minute.",
    source=PaymentAttempted,
    by="method",
    window=tumbling("1m", grace="10s"),
    columns={
        "attempts": count(),
        "failures": count(where=failed),
        "failure_rate": mean("failed"),
        "failed_amount": total("amount", where=failed),
    },
    emit=PaymentFailureRate,
)

"""The table without windows, over the main job's events."""

from __future__ import annotations

from app.engine.aggregates import count, maximum, total
from app.engine.language.table import Table
from benchmarks.main_job.events import MainJobEvent

lifetime_per_user = Table(
    "lifetime_per_user",
    source=MainJobEvent,
    by="user",
    columns={"events": count(), "amount": total("amount"), "largest": maximum("amount")},
)

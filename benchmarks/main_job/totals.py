"""The main job's table."""

from __future__ import annotations

from app.engine.aggregates import count, maximum, total
from app.engine.language.table import Table
from app.engine.windows import tumbling
from benchmarks.main_job.events import MainJobEvent, MainJobTotal

totals_per_user = Table(
    "totals_per_user",
    source=MainJobEvent,
    by="user",
    window=tumbling("10s", grace="1s"),
    columns={"events": count(), "amount": total("amount"), "largest": maximum("amount")},
    emit=MainJobTotal,
)

"""Views per ten seconds and page."""

from __future__ import annotations

import polars as pl

from app import Table, count, maximum, mean, tumbling
from app.events.page_viewed import PageViewed
from app.events.page_views_counted import PageViewsCounted

page_views = Table(
    "page_views",
    description="How often each page is opened and how fast it loads, every ten seconds.",
    source=PageViewed,
    by="page",
    window=tumbling("10s", grace="10s"),
    columns={
        "views": count(),
        "mobile_views": count(where=pl.col("mobile")),
        "mean_load_ms": mean("load_ms"),
        "slowest_load_ms": maximum("load_ms"),
    },
    emit=PageViewsCounted,
)

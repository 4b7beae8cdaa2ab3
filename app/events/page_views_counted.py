"""A page's views within ten seconds are counted."""

from __future__ import annotations

from app import Event


class PageViewsCounted(Event, type="page.views_counted", topic="page-view-counts", key="page"):
    """How often a page was opened within ten seconds; times in ms."""

    window_start: int
    window_end: int
    page: str
    views: int
    mobile_views: int
    mean_load_ms: float
    slowest_load_ms: int

"""A page of the shop has been looked at."""

from __future__ import annotations

from app import Event


class PageViewed(Event, type="page.viewed", topic="page-views", key="visitor_id"):
    """A visitor has opened a page."""

    visitor_id: str
    page: str
    mobile: bool
    load_ms: int
    referrer: str | None = None

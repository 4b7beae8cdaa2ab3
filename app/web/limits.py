"""What the web server gives at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WebLimits:
    """page_rows: of one answer. view_rows: that a page looks at, to filter and sort them. live_views: at a time."""

    page_rows: int = 500
    view_rows: int = 1_000_000
    live_views: int = 200

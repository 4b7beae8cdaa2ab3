"""Which topics are delivered as whole fetches."""

from __future__ import annotations

columnar: set[str] = set()
"""Their names. Filled before the consumer starts."""

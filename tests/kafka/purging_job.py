"""The test application, which deletes what it has counted of its internal topics every second."""

from __future__ import annotations

from app import parts
from tests.kafka.job import app

__all__ = ["app"]

parts._PURGE_INTERVAL_S = 1.0

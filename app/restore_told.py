"""Tells the log and the metrics how far a restore is."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from app.engine.reading.restore_progress import RestoreProgress, Restoring
from app.monitoring import metrics

log = structlog.get_logger(__name__)

LOG_INTERVAL_S = 3.0


class RestoreTold:
    """Asks for the progress each time that it is called; a line per table at most every LOG_INTERVAL_S."""

    def __init__(
        self, progress: RestoreProgress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._progress = progress
        self._clock = clock
        self._logged_at = -LOG_INTERVAL_S

    def tell(self) -> None:
        """Set the gauges, and log if it is time to."""
        tables = self._progress.tables()
        metrics.RESTORE_LEFT.clear()
        for item in tables:
            metrics.RESTORE_LEFT.set(item.total - item.done, table=item.table)
        known = [item.seconds_left for item in tables if item.seconds_left is not None]
        metrics.RESTORE_LEFT_SECONDS.set(known[0] if known else 0)
        if tables and self._clock() - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = self._clock()
            for item in tables:
                _log(item)


def _log(item: Restoring) -> None:
    log.info(
        "tables.restoring",
        table=item.table,
        partitions=len(item.partitions),
        percent=item.percent,
        offsets=f"{item.done} of {item.total}",
        read_mb=round(item.size / 1e6, 1),
        mb_per_second=round(item.bytes_per_second / 1e6, 1),
        seconds_left=None if item.seconds_left is None else round(item.seconds_left),
    )

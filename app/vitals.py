"""Looks after a running worker: gauges, health, and the watchdog that ends it when it stands still."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import structlog

from app.engine.processing.work import TopicPartition
from app.engine.reading.restore_progress import RestoreProgress
from app.kafka.changelogs.standby import Standbys
from app.kafka.cluster_probe import ClusterProbe
from app.kafka.processing.runner import Runner
from app.monitoring import metrics
from app.monitoring.health import Health, WorkerState
from app.monitoring.watchdog import EXIT_CODE, Watchdog
from app.monitoring.whereabouts import whereabouts
from app.restore_told import RestoreTold
from app.settings import Settings

log = structlog.get_logger(__name__)

_INTERVAL_S = 1.0
_PROBE_INTERVAL_S_MAX = 3.0

Ends = Callable[[TopicPartition], int | None]


class Vitals:
    """Samples a worker once a second. ends: the last stable offset of a partition, None if unknown.

    silent_s: for how long the broker has said nothing about a partition. waiting: see `Watchdog.observe`.
    """

    def __init__(
        self,
        settings: Settings,
        runner: Runner,
        standbys: Standbys,
        progress: RestoreProgress,
        ends: Ends,
        silent_s: Callable[[str, int], float],
        waiting: Callable[[], Mapping[TopicPartition, int]],
        fetch_bytes: Callable[[], int],
        bootstrap_servers: str,
    ) -> None:
        self._runner = runner
        self._standbys = standbys
        self._restore = RestoreTold(progress)
        self._progress = progress
        self._ends = ends
        self._silent_s = silent_s
        self._waiting = waiting
        self._fetch_bytes = fetch_bytes
        self._health = Health.of(settings)
        self._watchdog = Watchdog(settings.watchdog_stall_ms_max)
        self._ticked_at = time.monotonic()
        # silent, waited for, stood still and asked: all of it well before the watchdog judges
        self._probe_s = min(_PROBE_INTERVAL_S_MAX, settings.watchdog_stall_ms_max / 4000)
        self._probe = ClusterProbe(bootstrap_servers, timeout_s=self._probe_s)

    async def run(self) -> None:
        """Sample for ever."""
        await asyncio.gather(self._sample_for_ever(), self._excuse_for_ever())

    async def _sample_for_ever(self) -> None:
        while True:
            self._ticked_at = time.monotonic()
            self.sample()
            await asyncio.sleep(_INTERVAL_S)

    async def _excuse_for_ever(self) -> None:
        """While partitions stand still, ask whether the cluster is there; if not, they cannot help it."""
        loop = asyncio.get_running_loop()
        away_since: float | None = None
        while True:
            await asyncio.sleep(self._probe_s)
            standing = self._watchdog.standing(self._probe_s * 1000 if away_since is None else 0)
            away = await loop.run_in_executor(None, self._probe.away, standing) if standing else ()
            self._watchdog.excuse(away)
            if away and away_since is None:
                away_since = time.monotonic() - self._probe_s
                log.warning("cluster.away", partitions=len(away))
            elif away_since is not None and standing and not away:
                log.info("cluster.back", seconds=round(time.monotonic() - away_since, 1))
                away_since = None

    def sample(self) -> None:
        """Set the gauges, and end the process if it does nothing although there is work."""
        runner = self._runner
        positions = runner.positions()
        lags = {
            here: max(0, end - position)
            for here, position in positions.items()
            if (end := self._ends(here)) is not None
        }
        self._set_gauges(lags)
        if positions:  # without any it may be at its end, and the store closed
            metrics.STATE_BYTES.set(runner.state_bytes())
        self._restore.tell()
        metrics.STANDBY_LAG.clear()
        for (table, partition), lag in self._standbys.lags().items():
            metrics.STANDBY_LAG.set(lag, table=table, partition=partition)
        steps = self._progress.steps
        waiting = {here: step + steps for here, step in self._waiting().items()}
        heard = {here: lag for here, lag in lags.items() if self._silent_s(*here) < self._probe_s}
        stall = self._watchdog.observe(
            assigned=bool(positions or waiting),
            positions=positions,
            lags=heard,
            waiting=waiting,
            last_error=runner.last_error or runner.checkpoints.last_error,
        )
        if stall is not None:
            _give_up(str(stall))

    def _set_gauges(self, lags: Mapping[TopicPartition, int]) -> None:
        now_ms = time.time() * 1000
        metrics.LAG.clear()
        for (topic, partition), lag in lags.items():
            metrics.LAG.set(lag, topic=topic, partition=partition)
        metrics.FETCH_BUFFER_BYTES.set(self._fetch_bytes())
        metrics.WATERMARK_DELAY.clear()
        metrics.STATE_SEGMENTS.clear()
        for table in self._runner.processor.tables:
            segments = 0
            for item in self._runner.processor.partitions_of(table):
                segments += item.stacks.segments()
                if item.meta.watermark is not None:
                    delay_s = (now_ms - item.meta.watermark) / 1000
                    metrics.WATERMARK_DELAY.set(delay_s, table=table, partition=item.partition)
            metrics.STATE_SEGMENTS.set(segments, table=table)

    def _state(self) -> WorkerState:
        late_s = time.monotonic() - self._ticked_at - _INTERVAL_S
        runner = self._runner
        return WorkerState(
            loop_delay_ms=max(0, int(late_s * 1000)),
            assigned=runner.assigned,
            restored=runner.restored,
            checkpoint_waiting_ms=runner.checkpoints.waiting_ms(),
            last_error=runner.last_error or runner.checkpoints.last_error,
        )

    def health(self) -> tuple[bool, dict[str, Any]]:
        """The answer to `/health`."""
        report = self._health.live(self._state())
        return report.ok, report.as_json()

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """The answer to `/ready`."""
        report = self._health.ready(self._state())
        return report.ok, report.as_json()


def _give_up(reason: str) -> NoReturn:
    """End the process at once: what stands still cannot be trusted to stop in order, and nothing is lost."""
    try:
        for name, calls in whereabouts():
            log.critical("worker.stands", where=name, calls=calls)
    finally:
        log.critical("worker.stalled", reason=reason, exit_code=EXIT_CODE)
        os._exit(EXIT_CODE)

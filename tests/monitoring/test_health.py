"""Live and ready, from plain values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.monitoring.health import Health, WorkerState
from app.settings import Settings

HEALTH = Health(checkpoint_waiting_ms_max=1000, loop_delay_ms_max=500)
GOOD = WorkerState(
    loop_delay_ms=3,
    assigned=True,
    restored=True,
    checkpoint_waiting_ms=80,
    last_error=None,
)


def failed(report: object) -> list[str]:
    return [check.name for check in report.checks if not check.ok]  # type: ignore[attr-defined]


def test_a_good_worker_lives_and_is_ready() -> None:
    assert HEALTH.live(GOOD).status == HEALTH.ready(GOOD).status == 200
    assert HEALTH.ready(GOOD).as_json() == {
        "ok": True,
        "checks": {
            "event_loop": {"ok": True, "detail": "late by 3 ms, at most 500"},
            "assigned": {"ok": True, "detail": "partitions are assigned"},
            "restored": {"ok": True, "detail": "tables are restored"},
            "checkpoint": {"ok": True, "detail": "uncommitted work waits for 80 ms, at most 1000"},
        },
        "last_error": None,
    }


@pytest.mark.parametrize(
    ("change", "check", "detail"),
    [
        ({"loop_delay_ms": 501}, "event_loop", "late by 501 ms, at most 500"),
        ({"assigned": False}, "assigned", "partitions are not yet assigned"),
        ({"restored": False}, "restored", "tables are not yet restored"),
        (
            {"checkpoint_waiting_ms": 1001},
            "checkpoint",
            "uncommitted work waits for 1001 ms, at most 1000",
        ),
    ],
)
def test_not_ready(change: dict[str, object], check: str, detail: str) -> None:
    report = HEALTH.ready(replace(GOOD, **change))  # type: ignore[arg-type]
    assert report.status == 503
    assert failed(report) == [check]
    assert {item.name: item.detail for item in report.checks}[check] == detail


def test_only_the_event_loop_decides_about_life() -> None:
    restoring = WorkerState(
        0, assigned=False, restored=False, checkpoint_waiting_ms=10**6, last_error="x"
    )
    assert HEALTH.live(restoring).status == 200
    assert HEALTH.live(restoring).as_json()["last_error"] == "x"
    assert failed(HEALTH.live(replace(restoring, loop_delay_ms=501))) == ["event_loop"]


def test_an_idle_worker_is_ready() -> None:
    assert HEALTH.ready(replace(GOOD, checkpoint_waiting_ms=None)).ok


def test_the_limits_come_from_the_settings() -> None:
    settings = Settings(checkpoint_interval_ms=100, transaction_timeout_ms=15_000)
    assert Health.of(settings).checkpoint_waiting_ms_max == 15_100

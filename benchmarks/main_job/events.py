"""The main job's event types."""

from __future__ import annotations

from app.events import Event
from benchmarks.worker_app import APP_ID, TOPIC


class MainJobEvent(Event, type="bench.main_job", topic=TOPIC, key="user", plain=True, time="time"):
    """One of the ten-field events of `benchmarks/events.py`."""

    id: str
    type: str
    source: str
    time: int
    user: str
    amount: float
    country: str
    ip: str
    ok: bool
    qty: int


class MainJobTotal(Event, type="bench.main_job_total", topic=f"{APP_ID}.totals", key="user"):
    """What a user did in a closed window."""

    user: str
    window_start: int
    events: int
    amount: float
    largest: float

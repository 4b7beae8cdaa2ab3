"""The latency benchmark's event types."""

from __future__ import annotations

from app.events import Event
from benchmarks.worker_app import APP_ID, TOPIC


class Step(Event, type="bench.step", topic=TOPIC, key="user", plain=True, time="time"):
    """One of the events of `benchmarks/events.py`; `time` is when it was produced."""

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


class PassedOn(Event, type="bench.passed_on", topic=f"{APP_ID}.passed-on", key="user", time="time"):
    """The same event, emitted by the agent."""

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

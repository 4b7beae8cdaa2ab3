"""An application whose windows come and go while a table without windows is updated."""

from __future__ import annotations

from app.engine.aggregates import count, maximum, total
from app.engine.language.table import Table
from app.engine.windows import tumbling
from app.events.event import Event
from app.settings import load_settings
from app.start import prepare_process

settings = load_settings()
prepare_process(settings)

from app.worker import Headrace  # noqa: E402 - after the process is prepared


class Visit(
    Event, type="test.visit", topic=f"{settings.app_id}-visits", key="user", plain=True, time="at"
):
    """A user has looked at a page for so many seconds."""

    user: str
    seconds: int
    at: int


lifetime = Table(
    "lifetime",
    source=Visit,
    by="user",
    columns={"visits": count(), "seconds": total("seconds"), "longest": maximum("seconds")},
)
recent = Table(
    "recent",
    source=Visit,
    by="user",
    window=tumbling("5s", grace="1s"),
    columns={"visits": count(), "seconds": total("seconds")},
)

app = Headrace(settings, tables=[lifetime, recent])
app.load([Visit])

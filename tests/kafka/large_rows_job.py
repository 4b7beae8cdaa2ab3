"""An application whose rows and events are as large as the texts of its events make them."""

from __future__ import annotations

from app.engine.aggregates import count, latest, maximum, minimum
from app.engine.language.table import Table
from app.engine.processing.agent import Stream
from app.engine.windows import tumbling
from app.events.event import Event
from app.settings import load_settings
from app.start import prepare_process

settings = load_settings()
prepare_process(settings)

from app.worker import Headrace  # noqa: E402 - after the process is prepared

PREFIX = settings.app_id


class Note(Event, type="test.note", topic=f"{PREFIX}-notes", key="user", plain=True, time="at"):
    """A user has written something."""

    user: str
    text: str
    at: int


class Notes(Event, type="test.notes", topic=f"{PREFIX}-totals", key="user"):
    """What a user has written in a window."""

    user: str
    notes: int
    first: str | None
    last: str | None
    newest: str | None


class Doubled(Event, type="test.doubled", topic=f"{PREFIX}-doubled", key="user"):
    """A note, twice."""

    user: str
    text: str


totals = Table(
    "totals",
    source=Note,
    by="user",
    window=tumbling("1s"),
    columns={
        "notes": count(),
        "first": minimum("text"),
        "last": maximum("text"),
        "newest": latest("text"),
    },
    emit=Notes,
)
app = Headrace(settings, tables=[totals])


@app.agent(Note)
async def double(notes: Stream[Note]) -> None:
    """Emit what may be too large to be sent."""
    async for note in notes.events():
        notes.emit(Doubled(user=note.user, text=2 * note.text))


app.load([Note, Notes, Doubled])

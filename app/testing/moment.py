"""Moments as tests write them: "12:00:05", a datetime, a span after the start, or milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

Moment = str | int | datetime | timedelta


def milliseconds_of(moment: Moment, start_ms: int) -> int:
    """The moment in ms since the epoch; `start_ms` is where the test's time began.

    A text is a time of the day on which the test begins ("12:00:05") or a date with a time
    ("2024-03-01T12:00:05"), UTC where it names no zone. A timedelta counts from the start. An integer
    is milliseconds since the epoch. ValueError: none of these.
    """
    if isinstance(moment, bool):
        raise ValueError(f"{moment!r} is no moment")
    if isinstance(moment, int):
        return moment
    if isinstance(moment, timedelta):
        return start_ms + moment // timedelta(milliseconds=1)
    if isinstance(moment, datetime):
        return _since_epoch(moment)
    return _since_epoch(_parse(moment, start_ms))


def _parse(text: str, start_ms: int) -> datetime:
    try:
        clock = time.fromisoformat(text)
    except ValueError:
        pass
    else:
        return datetime.combine(datetime.fromtimestamp(start_ms / 1000, UTC), clock)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no moment; write a time of day such as '12:00:05', or '2024-03-01T12:00:05'"
        ) from None


def _since_epoch(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)

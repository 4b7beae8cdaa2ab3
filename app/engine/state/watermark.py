"""The watermark of a table partition: how far event time has got at all of its senders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What a sender (a source partition) says of its stream time (ms).

    idle: it has had no events for so long that it holds nobody back until it has one again.
    """

    time: int | None
    idle: bool = False


def watermark(
    previous: int | None, expected: Iterable[int], senders: Mapping[int, Progress]
) -> int | None:
    """The smallest stream time of the senders that are not idle, or if all are, the largest; it never goes back.

    None: some sender has not been heard of yet. It is a function of where the senders stand, not of how they came
    there: news of an event and of the silence after it may come as one.
    """
    active: list[int] = []
    idle: list[int] = []
    for sender in expected:
        progress = senders.get(sender)
        if progress is None or (progress.time is None and not progress.idle):
            return previous
        if progress.time is not None:
            (idle if progress.idle else active).append(progress.time)
    if not active and not idle:
        return previous
    now = min(active) if active else max(idle)
    return now if previous is None else max(previous, now)

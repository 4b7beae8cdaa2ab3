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
    """The smallest stream time of the senders that are not idle; it never goes back.

    None: some sender has not been heard of yet. When all are idle it stays where it was.
    """
    times: list[int] = []
    for sender in expected:
        progress = senders.get(sender)
        if progress is None:
            return previous
        if progress.idle:
            continue
        if progress.time is None:
            return previous
        times.append(progress.time)
    if not times:
        return previous
    return min(times) if previous is None else max(previous, min(times))

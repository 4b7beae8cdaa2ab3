"""Durations as users write them: "10s", "1m", "250ms"; inside, integer milliseconds."""

from __future__ import annotations

import re

_MS_PER = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)\s*(ms|s|m|h|d)")


def milliseconds(duration: str | int) -> int:
    """Give a duration in milliseconds; an integer is milliseconds already.

    ValueError: neither a whole number of ms, s, m, h or d, nor a non-negative integer.
    """
    if isinstance(duration, int) and not isinstance(duration, bool) and duration >= 0:
        return duration
    match = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if match is None:
        raise ValueError(
            f"{duration!r} is no duration; write for example '250ms', '10s', '1m', '2h' or '1d'"
        )
    return int(match[1]) * _MS_PER[match[2]]


def human(duration_ms: int) -> str:
    """The shortest exact way to write a duration, such as "90s" or "1m"."""
    for unit in ("d", "h", "m", "s"):
        if duration_ms and duration_ms % _MS_PER[unit] == 0:
            return f"{duration_ms // _MS_PER[unit]}{unit}"
    return f"{duration_ms}ms" if duration_ms else "0s"

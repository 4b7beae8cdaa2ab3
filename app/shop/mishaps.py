"""What goes wrong in real traffic: events out of order, events far too late, events that are broken."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

OUT_OF_ORDER_SHARE = 0.02
OUT_OF_ORDER_MS_MAX = 4000
"""Well within every table's grace: such an event is never late, whichever partition it meets."""
LATE_SHARE = 0.001
LATE_MS_MAX = 30_000
BAD_SHARE = 0.0005

NEVER = np.iinfo(np.int64).min
"""The stream time of a partition that has had no event."""


class Mishaps:
    """Spoils a small, seeded share of the events.

    late_after_ms: an event so much older than its partition's newest one is late for every table.
    """

    def __init__(self, seed: int, late_after_ms: int) -> None:
        self._random = np.random.default_rng([seed, 1])
        self._late_after_ms = late_after_ms

    def times(self, times: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """The event times with some moved back. seen: the stream time of each event's partition."""
        count = len(times)
        moved = self._random.random(count) < OUT_OF_ORDER_SHARE
        back = self._random.integers(1, OUT_OF_ORDER_MS_MAX, count)
        times = np.where(moved, times - back, times)
        late = (self._random.random(count) < LATE_SHARE) & (seen != NEVER)
        older = self._late_after_ms + self._random.integers(0, LATE_MS_MAX, count)
        return np.where(late, seen - older, times)

    def bad(self, count: int) -> np.ndarray:
        """Which of so many events are to be broken."""
        return self._random.random(count) < BAD_SHARE

    def broken(self, type_name: str, value: bytes) -> tuple[str, bytes]:
        """A broken version of an event: its type and value."""
        breaks = (_cut, _wrong_type, _missing_field, _unknown_type)
        return breaks[self._random.integers(len(breaks))](type_name, value)


def _cut(type_name: str, value: bytes) -> tuple[str, bytes]:
    return type_name, value[: len(value) // 2]


def _wrong_type(type_name: str, value: bytes) -> tuple[str, bytes]:
    return type_name, _edited(value, lambda fields: fields.update({next(iter(fields)): 17}))


def _missing_field(type_name: str, value: bytes) -> tuple[str, bytes]:
    return type_name, _edited(value, lambda fields: fields.pop(next(iter(fields))))


def _unknown_type(type_name: str, value: bytes) -> tuple[str, bytes]:
    return f"{type_name}.draft", value


def _edited(value: bytes, edit: Callable[[dict[str, object]], object]) -> bytes:
    fields = msgspec.json.decode(value, type=dict[str, object])
    edit(fields)
    return msgspec.json.encode(fields)

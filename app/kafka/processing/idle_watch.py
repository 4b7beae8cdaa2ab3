"""Which source partitions nobody writes to. Pure: told what happens, and by whose clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from app.engine.processing.work import TopicPartition

_SILENT_S_MIN = 1.0


class IdleWatch:
    """A partition is quiet when it has had no events for `limit_s`.

    Time in which the broker is silent does not count, for then nobody can write; nor does time in which
    nobody has looked here, as while a checkpoint waits for the cluster.

    silent_s: for how long the broker has said nothing about a partition. clock: monotonic seconds.
    """

    def __init__(
        self,
        limit_s: float,
        silent_s: Callable[[str, int], float],
        clock: Callable[[], float],
    ) -> None:
        self._limit_s = limit_s
        self._silent_s_max = max(_SILENT_S_MIN, limit_s / 2)
        self._silent_s = silent_s
        self._clock = clock
        self._last_event_at: dict[TopicPartition, float] = {}
        self._looked_at = clock()

    def watch(self, partitions: Iterable[TopicPartition]) -> None:
        """Watch these from now on, and no others."""
        now, before = self._clock(), self._last_event_at
        self._last_event_at = {here: before.get(here, now) for here in partitions}

    def event(self, here: TopicPartition) -> None:
        """The partition has had an event."""
        self._last_event_at[here] = self._clock()

    def quiet(self) -> list[TopicPartition]:
        """The partitions that are quiet; ask often."""
        now = self._clock()
        blind = now - self._looked_at > self._silent_s_max
        self._looked_at = now
        for here in self._last_event_at:
            if blind or self._silent_s(*here) > self._silent_s_max:
                self._last_event_at[here] = now
        return [here for here, at in self._last_event_at.items() if now - at >= self._limit_s]

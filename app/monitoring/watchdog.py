"""Decides when a worker that has work does none. Pure: facts in, a verdict out.

Kafka consumers in Python have been seen to die without a word: assigned, with lag, and still. Then
it is better to end with a clear reason, so that a supervisor starts the process anew. Partitions
are watched one by one, since one can stand still while others go on. Time in which the cluster does not
answer does not count: to end the process would not bring it back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

EXIT_CODE = os.EX_SOFTWARE
PARTITIONS_NAMED_MAX = 5

TopicPartition = tuple[str, int]


@dataclass(frozen=True)
class StalledPartition:
    """A partition that stands still: where, for how long, and how many offsets wait.

    position: None: it is not even taken over. lag: None: Kafka does not answer for it, or is not asked.
    """

    topic: str
    partition: int
    position: int | None
    lag: int | None
    stalled_ms: int

    def __str__(self) -> str:
        lag = "not read" if self.lag is None else f"lag {self.lag}"
        where = "not taken over" if self.position is None else f"at offset {self.position}, {lag}"
        return f"{self.topic}[{self.partition}] {where}, for {self.stalled_ms / 1000:.0f} s"


@dataclass(frozen=True)
class Stall:
    """The verdict that the process must end; its text is one line that says why."""

    partitions: tuple[StalledPartition, ...]
    last_error: str | None

    def __str__(self) -> str:
        named = "; ".join(map(str, self.partitions[:PARTITIONS_NAMED_MAX]))
        more = len(self.partitions) - PARTITIONS_NAMED_MAX
        rest = f"; and {more} more" if more > 0 else ""
        error = " ".join((self.last_error or "none").split())
        return f"no progress although there is work: {named}{rest}; last checkpoint error: {error}"


@dataclass
class _Mark:
    """Since when (ms) a partition has stood there: (position, None), or (None, step) of its take-over."""

    where: tuple[int | None, int | None]
    since_ms: float


class Watchdog:
    """`stall_ms_max`: how long a partition with lag may stand still. `clock`: monotonic seconds.

    Call `observe` at intervals well below half of `stall_ms_max`.
    """

    def __init__(self, stall_ms_max: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_ms_max = stall_ms_max
        self._clock = clock
        self._marks: dict[TopicPartition, _Mark] = {}
        self._observed_ms: float | None = None

    def observe(
        self,
        *,
        assigned: bool,
        positions: Mapping[TopicPartition, int],
        lags: Mapping[TopicPartition, int],
        waiting: Mapping[TopicPartition, int] | None = None,
        last_error: str | None = None,
    ) -> Stall | None:
        """Take in how things stand; a Stall when the process must end with `EXIT_CODE`.

        assigned: there are partitions; until then nothing is expected.
        positions: the committed offset of each owned partition whose tables are restored.
        lags: offsets between it and the last stable offset. Not the high watermark: somebody
        else's open transaction, which nobody can read past, would then look like a stall. A partition without one
        is not being read, which it should: what was last known of it may be long ago.
        waiting: the partitions that are to be taken over, with a number that changes while something is done for it.
        """
        now_ms = self._clock() * 1000
        gap_ms = now_ms - (now_ms if self._observed_ms is None else self._observed_ms)
        self._observed_ms = now_ms
        if not assigned or gap_ms > self._stall_ms_max / 2:
            # Nothing to do, or the process itself was stopped (SIGSTOP, a sleeping laptop).
            self._marks = {}
        marks, self._marks = self._marks, {}
        if not assigned:
            return None
        idle = {here for here in positions if lags.get(here, 1) <= 0}
        now: dict[TopicPartition, tuple[int | None, int | None]] = {
            here: (position, None) for here, position in positions.items()
        }
        now |= {here: (None, step) for here, step in (waiting or {}).items()}
        for here, where in now.items():
            mark = marks.get(here)
            if mark is None or mark.where != where or here in idle:
                mark = _Mark(where, now_ms)
            self._marks[here] = mark
        stalled = tuple(
            StalledPartition(*here, mark.where[0], lags.get(here), int(now_ms - mark.since_ms))
            for here, mark in sorted(self._marks.items())
            if now_ms - mark.since_ms >= self._stall_ms_max
        )
        return Stall(stalled, last_error) if stalled else None

    def standing(self, for_ms: float) -> list[TopicPartition]:
        """The partitions that have stood still, with work to do, for this long (ms) or longer."""
        now_ms = self._clock() * 1000
        return [here for here, mark in self._marks.items() if now_ms - mark.since_ms >= for_ms]

    def excuse(self, partitions: Iterable[TopicPartition]) -> None:
        """The cluster does not answer for these: their time starts anew."""
        now_ms = self._clock() * 1000
        for here in partitions:
            if here in self._marks:
                self._marks[here].since_ms = now_ms

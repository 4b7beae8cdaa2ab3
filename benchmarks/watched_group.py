"""A group of workers that is looked at while events come in: how far it gets, and how long partitions stand still."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.child import Child, ChildError
from benchmarks.main_job_run import SAMPLE_INTERVAL_S, STALL_S_MAX
from benchmarks.stall import Stall
from benchmarks.topics import Topics
from benchmarks.trickle import Trickle

_WAIT_S_MAX = 120.0

T = TypeVar("T")


class Standstill:
    """The longest time (s) for which each partition has not got further, by the offsets that are seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved: dict[int, tuple[int, float]] = {}
        self._longest_s: dict[int, float] = {}

    def see(self, offsets: Sequence[int]) -> None:
        """The committed offsets of all partitions, now."""
        now = self._clock()
        for number, offset in enumerate(offsets):
            before, since = self._moved.setdefault(number, (offset, now))
            self._longest_s[number] = max(self._longest_s.get(number, 0.0), now - since)
            if offset != before:
                self._moved[number] = (offset, now)

    def longest_s(self, partitions: Iterable[int]) -> float:
        """Of these."""
        return max(self._longest_s[number] for number in partitions)


@dataclass
class WatchedGroup:
    """The workers of one application, whose source topic gets further events while they are watched.

    What waits raises ChildError when it waits for too long.
    """

    topics: Topics
    name: str
    topic: str
    partitions: int
    trickle: Trickle
    _still: Standstill = field(default_factory=Standstill)

    def await_caught_up(self, *workers: Child) -> None:
        """Wait until all events are committed; none come in meanwhile."""
        ends = self.topics.ends(self.topic, self.partitions)
        stall = Stall(self.name, STALL_S_MAX)
        while (done := self.topics.committed(self.name, self.topic, self.partitions)) != ends:
            for worker in workers:
                worker.check_alive()
            stall.at(sum(done))
            time.sleep(SAMPLE_INTERVAL_S)

    def watch(self) -> None:
        """From now on events come in, and standing still counts; wait until all partitions have got further."""
        self.trickle.begin()
        self._still = Standstill()
        self.await_moved(self.look(), range(self.partitions))

    def look(self) -> list[int]:
        """Send the events that are due; the committed offsets."""
        self.trickle.go_on()
        found = self.topics.committed(self.name, self.topic, self.partitions, stable=False)
        self._still.see(found)
        return found

    def look_for(self, seconds: float) -> list[int]:
        """The same, after looking on for so long."""
        end = time.monotonic() + seconds
        return self._until("time passes", lambda now: now if time.monotonic() >= end else None)

    def await_moved(self, before: Sequence[int], partitions: Iterable[int]) -> None:
        """Look on until these partitions have got further than before."""
        self._until(
            "the partitions get further",
            lambda now: all(now[number] > before[number] for number in partitions),
        )

    def await_given(self, worker: Child, count: int) -> float:
        """Look on until the group has given a worker this many partitions; when that was (s), by its own report."""

        def given(_now: list[int]) -> float | None:
            worker.check_alive()
            reports = (found for found in worker.heard() if found.get("partitions") == count)
            return next((found["assigned"] for found in reports), None)

        return self._until(f"{worker.name} is given {count} partitions", given)

    def await_shared(self, *workers: Child) -> list[set[int]]:
        """Look on until these workers have equal shares of the partitions; gives them."""

        def shared(_now: list[int]) -> list[set[int]] | None:
            assigned = self.topics.assigned(self.name, self.topic)
            shares = []
            for worker in workers:
                worker.check_alive()
                member = f"{self.name}-{worker.environment['HEADRACE_WORKER_ID']}"
                shares.append(assigned.get(member, set()))
            equal = all(len(share) * len(workers) == self.partitions for share in shares)
            return shares if equal else None

        return self._until("the workers share the partitions", shared)

    def stood_still_s(self, partitions: Iterable[int]) -> float:
        """The longest time for which one of these has got no further since it is watched."""
        return self._still.longest_s(partitions)

    def _until(self, hope: str, found: Callable[[list[int]], T | None]) -> T:
        """Look on until something is found in what is committed."""
        deadline = time.monotonic() + _WAIT_S_MAX
        while not (result := found(self.look())):
            if time.monotonic() > deadline:
                raise ChildError(f"{self.name}: waited {_WAIT_S_MAX:.0f} s in vain until {hope}")
            time.sleep(SAMPLE_INTERVAL_S)
        return result

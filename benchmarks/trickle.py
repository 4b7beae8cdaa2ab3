"""Events that come in a few at a time, while something else is looked at."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import polars as pl
from confluent_kafka import Producer

from benchmarks.events import Workload, encode

EVENTS_PER_S = 1000


@dataclass
class Trickle:
    """Further events, a few at a time; those that have been sent are told from `sent`."""

    servers: str
    topic: str
    workload: Workload
    sent: list[pl.DataFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 5})
        more = Workload(EVENTS_PER_S * 600, self.workload.keys, seed=self.workload.seed + 1)
        self._events = pl.concat(more.chunks())
        self._at = 0
        self._due = 0.0
        self._since = 0.0

    def begin(self) -> None:
        """From now on events are due."""
        self._since, self._due = time.monotonic(), 0.0

    def go_on(self) -> None:
        """Send what is due by now."""
        elapsed = time.monotonic() - self._since
        count = int((elapsed - self._due) * EVENTS_PER_S)
        events = self._events.slice(self._at, count)
        self._at += count
        self._due += count / EVENTS_PER_S
        codes = events["user_code"].to_list()
        for value, code, partition in zip(encode(events), codes, events["partition"], strict=True):
            user = self.workload.users[code].encode()
            self._producer.produce(self.topic, value, user, partition)
        self._producer.poll(0)
        self.sent.append(events)

    def flush(self) -> None:
        """All that has been sent has arrived."""
        if self._producer.flush(60):
            raise TimeoutError(f"events could not be written to {self.topic} within 60 s")

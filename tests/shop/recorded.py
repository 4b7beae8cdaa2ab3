"""What a generator would have sent, kept in memory, and its totals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from app.events.event import Event, event_type
from app.shop.generator import Generator
from app.shop.ledger import Columns
from app.shop.totals import Summary
from app.shop.traffic import SOURCES

START_MS = 1_790_000_000_000
SLICE_MS = 500


class Sent(NamedTuple):
    """One record, as it goes to Kafka."""

    topic: str
    type_name: str
    key: str
    value: bytes
    time: int


@dataclass
class Recorded:
    """All records in the order of sending, and the totals of a finished generator."""

    partitions: int
    sent: list[Sent] = field(default_factory=list)
    windows: list[tuple[str, int, Columns]] = field(default_factory=list)
    summary: Summary | None = None

    def run(self, *, seconds: int, rate: int, seed: int) -> Recorded:
        """Let a generator run for some seconds of event time."""
        counts = {event_type(cls).topic: self.partitions for cls in SOURCES}
        generator = Generator(seed, counts, self._send, self._settled)
        for start in range(START_MS, START_MS + seconds * 1000, SLICE_MS):
            generator.run_slice(start, start + SLICE_MS, rate * SLICE_MS // 1000)
        self.summary = generator.summary()
        return self

    def _send(
        self,
        cls: type[Event],
        type_names: list[str],
        keys: list[str],
        values: list[bytes],
        times: list[int],
    ) -> None:
        topic = event_type(cls).topic
        self.sent += map(Sent, [topic] * len(keys), type_names, keys, values, times)

    def _settled(self, table: str, start: int, rows: Columns) -> None:
        self.windows.append((table, start, rows))

"""How long partitions stand still, by the offsets that their group commits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from types import TracebackType

from confluent_kafka import KafkaException

from tests.kafka.workers import Cluster

_POLL_S = 0.05


class Standstill:
    """Watches a topic's committed offsets while its `with` block runs; the load must reach every partition."""

    def __init__(self, broker: str, group: str, topic: str) -> None:
        self._cluster = Cluster(broker, group)
        self._topic = topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.moves: dict[int, list[float]] = {}

    def _watch(self) -> None:
        before: dict[int, int] = {}
        partitions = self._cluster.partitions(self._topic)
        while not self._stop.wait(_POLL_S):
            try:
                now = self._cluster.committed_of(partitions, stable=False)
            except KafkaException:
                continue
            at = time.monotonic()
            for partition, offset in now.items():
                if offset != before.get(partition):
                    self.moves.setdefault(partition, []).append(at)
            before = now

    def __enter__(self) -> Standstill:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def longest_s(self, partitions: Iterable[int]) -> float:
        """The longest time that one of these has stood still (s); 0: none was watched."""
        gaps = [
            after - before
            for partition in partitions
            for before, after in zip(self.moves[partition], self.moves[partition][1:], strict=False)
        ]
        return max(gaps, default=0.0)

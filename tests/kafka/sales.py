"""Writes the test application's sales, and keeps the answer: a plain model of what must come out."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import orjson
from confluent_kafka import Producer

USERS, COUNTRIES = 200, ("DE", "FR", "IT", "PL", "SE")
START_MS = 1_790_000_000_000
SIZE_MS = 5_000
POISON = -1
"""The amount that the test application's agent fails on."""


class Sales:
    """Sales in event-time order per writer; nothing is late."""

    def __init__(self, bootstrap_servers: str, topic: str, seed: int) -> None:
        self._random = random.Random(seed)
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 5,
                "enable.idempotence": True,
            }
        )
        self.sequence = 0
        self._now = START_MS
        self.amounts: dict[int, int] = {}
        self.by_user: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.by_country: dict[tuple[str, int], list[int]] = defaultdict(list)

    def write(self, count: int, *, amount: int | None = None) -> None:
        """Write sales; event time moves on by about 1 ms per sale."""
        for _ in range(count):
            self._now += self._random.randrange(3)
            self._one(
                f"user-{self._random.randrange(USERS)}",
                self._random.choice(COUNTRIES),
                self._random.randrange(1000) if amount is None else amount,
                self._now,
            )
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has everything."""
        assert self._producer.flush(60) == 0

    def close_windows(self, partitions: int) -> None:
        """One sale an hour later in each partition: all earlier windows can close."""
        later = self._now + 3_600_000
        for partition in range(partitions):
            self._one(f"closer-{partition}", "XX", 0, later, partition=partition)
        self.flush()

    def _one(self, user: str, country: str, amount: int, at: int, partition: int = -1) -> None:
        sale = {
            "user": user,
            "sequence": self.sequence,
            "amount": amount,
            "country": country,
            "at": at,
        }
        while True:
            try:
                self._producer.produce(
                    self._topic, orjson.dumps(sale), user, partition, timestamp=at
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self.amounts[self.sequence] = amount
        self.sequence += 1
        window = at // SIZE_MS * SIZE_MS
        self.by_user[(user, window)].append(amount)
        self.by_country[(country, window)].append(amount)

    def expected_users(self) -> dict[tuple[str, int], tuple[int, int, int]]:
        """(user, window) to (sales, amount, largest), of the windows that have closed."""
        return {
            key: (len(amounts), sum(amounts), max(amounts))
            for key, amounts in self.by_user.items()
            if not key[0].startswith("closer-")
        }

    def expected_countries(self) -> dict[tuple[str, int], tuple[int, int]]:
        """(country, window) to (sales, amount), of the windows that have closed."""
        return {
            key: (len(amounts), sum(amounts))
            for key, amounts in self.by_country.items()
            if key[0] != "XX"
        }


def only_once(pairs: list[tuple[object, object]]) -> dict[object, object]:
    """A dict of the pairs; fails when a key comes twice."""
    counts = Counter(key for key, _ in pairs)
    twice = [key for key, count in counts.items() if count > 1]
    assert not twice, f"{len(twice)} came twice, such as {twice[:5]}"
    return dict(pairs)

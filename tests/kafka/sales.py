"""Writes the test application's sales, and models what must come out of them."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable
from typing import Any

import orjson
from confluent_kafka import KafkaError, Message, Producer

USERS, COUNTRIES = 200, ("DE", "FR", "IT", "PL", "SE")
START_MS = 1_790_000_000_000
SIZE_MS, GRACE_MS, KEEP_MS = 5_000, 1_000, 50_000
"""Of the test application's windows."""
CLOSER = "XX"
"""The country of the sales that come later and let all windows close."""
NO_COUNTRY = "ZZ"
"""What a later version of the application takes for the country of a sale that has none."""
LARGE = 500
"""The amount from which on the test application's agent feeds a sale to its table."""
POISON = -1
"""The amount that the test application's agent fails on."""
_STUCK_S = 20
"""A producer whose broker was away, and that holds a sale for so long, is stuck with it."""
_RECONNECT_S = 5
"""Unless it has lost its broker later than so long ago."""


class _Log(logging.Handler):
    """What a producer says, and when it last spoke of a connection or a leader that it had lost.

    It may send nothing to a partition any more, though all is there again:
    https://github.com/confluentinc/librdkafka/issues/5430
    """

    def __init__(self) -> None:
        super().__init__()
        self.last: deque[str] = deque(maxlen=20)
        self.lost_at: float | None = None

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self.last.append(message)
        if message.startswith("FAIL") or "new leader-1 not found" in message:
            self.lost_at = time.monotonic()


class Sales:
    """Sales in event-time order per writer; nothing is late.

    What a producer is stuck with is sent by another one, so after a broker's fault a sale may be there twice.
    """

    def __init__(
        self, bootstrap_servers: str, topic: str, seed: int, *, start_ms: int = START_MS
    ) -> None:
        self._random = random.Random(seed)
        self._topic = topic
        self._options = {
            "bootstrap.servers": bootstrap_servers,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "enable.idempotence": True,
            # a broker that is killed has been seen to take later batches before earlier ones
            "max.in.flight.requests.per.connection": 1,
        }
        self._unsent: dict[int, tuple[float, Any]] = {}
        self._new_producer()
        self.sequence = 0
        self.now = start_ms
        """The event time (ms) that the writer has come to."""
        self.amounts: dict[int, int] = {}
        self.share_without_country = 0.0

    def _new_producer(self) -> None:
        self._log, logger = _Log(), logging.Logger("sales")
        logger.addHandler(self._log)
        self._producer = Producer(self._options, logger=logger)

    def write(self, count: int, *, amount: int | None = None) -> None:
        """Write sales; event time moves on by about 1 ms per sale."""
        for _ in range(count):
            self.now += self._random.randrange(3)
            self._one(
                f"user-{self._random.randrange(USERS)}",
                self._random.choice(COUNTRIES) if self._has_country() else None,
                self._random.randrange(1000) if amount is None else amount,
                self.now,
            )
        self._poll(0)

    def _poll(self, timeout_s: float) -> None:
        """Hear of what has been sent, and send the rest by another producer if this one is stuck with it."""
        self._producer.poll(timeout_s)
        now = time.monotonic()
        since = next((since for since, _ in self._unsent.values()), now)
        lost_at = self._log.lost_at
        if lost_at is not None and now - since > _STUCK_S and now - lost_at > _RECONNECT_S:
            self._producer.purge()
            self._new_producer()
            for sequence, (_, record) in list(self._unsent.items()):
                self._produce(sequence, *record)

    def _produce(self, sequence: int, *record: Any) -> None:
        def sent(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self._unsent.pop(sequence, None)

        self._unsent[sequence] = time.monotonic(), record
        *placed, at = record
        while True:
            try:
                self._producer.produce(self._topic, *placed, timestamp=at, on_delivery=sent)
                return
            except BufferError:
                self._poll(0.1)

    def _has_country(self) -> bool:
        return not self.share_without_country or self._random.random() >= self.share_without_country

    def flush(self) -> None:
        """Wait until the broker has everything."""
        deadline = time.monotonic() + 120
        while self._unsent:
            assert time.monotonic() < deadline, f"{len(self._unsent)} sales are not sent"
            self._poll(0.1)

    def __str__(self) -> str:
        waited = [time.monotonic() - since for since, _ in self._unsent.values()]
        return "\n".join(
            [
                f"{self.sequence} sales, {len(waited)} not sent, for up to {max(waited, default=0):.0f} s",
                *self._log.last,
            ]
        )

    def close_windows(
        self, partitions: int, later_ms: int = 20_000, *, silent: Collection[int] = ()
    ) -> None:
        """One sale so much later in each partition, but the silent ones: all earlier windows can close."""
        later = self.now + later_ms
        for partition in set(range(partitions)) - set(silent):
            self._one(f"closer-{partition}", CLOSER, 0, later, partition=partition)
        self.flush()

    def _one(
        self, user: str, country: str | None, amount: int, at: int, partition: int = -1
    ) -> None:
        sale = {
            "user": user,
            "sequence": self.sequence,
            "amount": amount,
            "country": country,
            "at": at,
        }
        if country is None:
            del sale["country"]
        self._produce(self.sequence, orjson.dumps(sale), user, partition, at)
        self.amounts[self.sequence] = amount
        self.sequence += 1


class Model:
    """What must come out of these sales: a plain computation. Closing sales leave their windows open."""

    def __init__(self, sales: Iterable[dict[str, Any]]) -> None:
        users: dict[tuple[str, int], list[int]] = defaultdict(list)
        countries: dict[tuple[str, int], list[int]] = defaultdict(list)
        self._open: set[int] = set()
        self._now = 0
        for sale in sales:
            window = sale["at"] // SIZE_MS * SIZE_MS
            self._now = max(self._now, sale["at"])
            if sale["country"] == CLOSER:
                self._open.add(window)
            users[(sale["user"], window)].append(sale["amount"])
            countries[(sale["country"], window)].append(sale["amount"])
        self.all_users = {key: (len(item), sum(item), max(item)) for key, item in users.items()}
        self.all_countries = {key: (len(item), sum(item)) for key, item in countries.items()}
        self.users = self.closed(self.all_users)
        self.countries = self.closed(self.all_countries)

    def closed(self, windows: dict[tuple[str, int], Any]) -> dict[tuple[str, int], Any]:
        """Those that are emitted: the closing sales have windows of their own."""
        return {key: item for key, item in windows.items() if key[1] not in self._open}

    def kept(self, windows: dict[tuple[str, int], Any]) -> dict[tuple[str, int], Any]:
        """Those that can be read after the closing sales: the open ones, and what has closed lately."""
        oldest = self._now - SIZE_MS - GRACE_MS - KEEP_MS
        return {key: item for key, item in windows.items() if key[1] > oldest}


def only_once(pairs: list[tuple[object, object]]) -> dict[object, object]:
    """A dict of the pairs; fails when a key comes twice."""
    counts = Counter(key for key, _ in pairs)
    twice = [key for key, count in counts.items() if count > 1]
    assert not twice, f"{len(twice)} came twice, such as {twice[:5]}"
    return dict(pairs)

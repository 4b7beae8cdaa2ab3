"""The main job's events: deterministic, made in columns, with the answers all must reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from app.codecs.murmur2 import partitions

START_MS = 1_790_000_000_000
"""Time of the first event. Fixed: equal settings give equal bytes. The topic must not expire."""
EVENTS_PER_MS = 100
WINDOW_MS = 10_000
CHUNK_EVENTS = 250_000

FIELDS = ("id", "type", "source", "time", "user", "amount", "country", "ip", "ok", "qty")
_TYPES = ("order.placed", "order.paid", "page.viewed", "cart.updated")
_SOURCES = tuple(f"web-{number}" for number in range(8))
_COUNTRIES = ("DE", "FR", "NL", "PL", "ES", "IT", "SE", "AT")
_ADDRESSES = tuple(f"10.1.{number // 16}.{number % 16}" for number in range(256))


@dataclass(frozen=True)
class Workload:
    """`events` events of `keys` users over `partitions` partitions, in event-time order.

    Chunks are seeded one by one, so several processes can make their parts alone.
    """

    events: int
    keys: int = 10_000
    partitions: int = 4
    seed: int = 7

    @property
    def end_ms(self) -> int:
        """Time of the last event."""
        return START_MS + (self.events - 1) // EVENTS_PER_MS

    @cached_property
    def users(self) -> pl.Series:
        """All users; an event's `user_code` is an index into it."""
        numbers = pl.int_range(self.keys, eager=True).cast(pl.String)
        return ("user-" + numbers).alias("user")

    @cached_property
    def partition_of_code(self) -> pl.Series:
        """The partition of each user, in the order of `users`."""
        return partitions(self.users, self.partitions).cast(pl.UInt32).alias("partition")

    def chunks(self) -> Iterator[pl.DataFrame]:
        """The events: the columns FIELDS, then `user_code` and `partition`."""
        for number, first in enumerate(range(0, self.events, CHUNK_EVENTS)):
            yield self._chunk(number, first, min(CHUNK_EVENTS, self.events - first))

    def _chunk(self, number: int, first: int, count: int) -> pl.DataFrame:
        random = np.random.default_rng([self.seed, number])
        user_code = random.integers(0, self.keys, count, dtype=np.uint32)
        cents = random.integers(0, 10_000, count, dtype=np.uint32)
        bits = random.integers(0, 1 << 63, count, dtype=np.uint64)
        return pl.DataFrame(
            {
                "id": pl.Series(bits).cast(pl.String),
                "type": _pick(_TYPES, bits),
                "source": _pick(_SOURCES, bits >> 2),
                "time": START_MS + np.arange(first, first + count) // EVENTS_PER_MS,
                "user": self.users.gather(user_code),
                "amount": cents / 100,  # the double that the text with two decimals stands for
                "country": _pick(_COUNTRIES, bits >> 5),
                "ip": _pick(_ADDRESSES, bits >> 8),
                "ok": (bits >> 16) & 15 != 0,
                "qty": (bits >> 20) % 9,
                "user_code": user_code,
                "partition": self.partition_of_code.gather(user_code),
            }
        )

    def closing(self) -> pl.DataFrame:
        """One more event per partition, late enough to close every window before it."""
        chunk = self._chunk(0, 0, min(CHUNK_EVENTS, self.events))
        time_ms = (self.end_ms // WINDOW_MS + 3) * WINDOW_MS
        return chunk.unique("partition", keep="first", maintain_order=True).with_columns(
            time=pl.lit(time_ms, pl.Int64)
        )

    def totals(self) -> pl.DataFrame:
        """The one-shot answer per user and window: user, window_start, events, amount, largest."""
        needed = pl.concat(
            [chunk.select("user_code", "time", "amount") for chunk in self.chunks()], rechunk=False
        )
        window = (pl.col("time") // WINDOW_MS * WINDOW_MS).alias("window_start")
        totals = needed.group_by("user_code", window).agg(
            events=pl.len().cast(pl.Int64),
            amount=pl.col("amount").sum(),
            largest=pl.col("amount").max(),
        )
        users = self.users.gather(totals["user_code"])
        return totals.select(users, "window_start", "events", "amount", "largest")


def encode(frame: pl.DataFrame) -> list[bytes]:
    """The events as JSON, about 170 bytes each."""
    text = frame.select(pl.struct(FIELDS).struct.json_encode()).to_series()
    return text.cast(pl.Binary).to_list()


def _pick(values: tuple[str, ...], codes: np.ndarray) -> pl.Series:
    """One of `values` per code; their number is a power of two."""
    return pl.Series(values).gather((codes & np.uint64(len(values) - 1)).astype(np.uint32))

"""What must become of each record of the sales' topic, by a plain walk through the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from confluent_kafka import Message

from tests.kafka.sales import GRACE_MS, NO_COUNTRY, SIZE_MS

Origin = tuple[int, int]
"""Partition and offset."""


class SourceLog:
    """The sales that could be read, in the order of each partition; those of them that came late.

    dead: the records that have become dead letters because they could not be read. They move no time on.
    """

    def __init__(self, messages: Iterable[Message], dead: set[Origin]) -> None:
        self.sales: list[dict[str, Any]] = []
        self.on_time: list[dict[str, Any]] = []
        self.late: set[Origin] = set()
        self.replayed: set[Origin] = set()
        self.dead = 0
        times: dict[int, int] = {}
        for message in messages:
            partition, here = message.partition(), (message.partition(), message.offset())
            if here in dead:
                assert _is_bad(message), f"a good event is a dead letter: {message.value()!r}"
                self.dead += 1
                continue
            sale = {"country": NO_COUNTRY, **orjson.loads(message.value() or b"")}
            if dict(message.headers() or ()).get("headrace_replay") is not None:
                self.replayed.add(here)
            self.sales.append(sale)
            now = times[partition] = max(sale["at"], times.get(partition, sale["at"]))
            if sale["at"] // SIZE_MS * SIZE_MS + SIZE_MS + GRACE_MS <= now:
                self.late.add(here)
            else:
                self.on_time.append(sale)


def _is_bad(message: Message) -> bool:
    """Whether a record is of the poison corpus, or lacks a field."""
    marked = "corpus" in dict(message.headers() or ())
    return marked or "country" not in orjson.loads(message.value() or b"")


def origin(message: Message) -> Origin:
    """Where a dead letter or a late event came from."""
    headers = dict(message.headers())
    return int(headers["headrace_partition"]), int(headers["headrace_offset"])

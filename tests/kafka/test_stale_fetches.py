"""Fetches that were on their way when a partition was read again from further back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.types import TP

from app.codecs.record_batch import Fetch
from app.kafka.columnar_topics import columnar
from app.kafka.fetching.transport import Consumer, Transport
from app.kafka.processing.pump import Pump

HERE, THERE = TP("words", 0), TP("words", 1)
ORDINARY = TP("letters", 0)


@pytest.fixture
def words() -> Iterator[None]:
    columnar.add(HERE.topic)
    yield
    columnar.discard(HERE.topic)


async def _passed_on(fetched: list[tuple[TP, int]]) -> list[tuple[TP, int]]:
    """What Faust's own loop passes on of messages with these offsets; before the last one they are read again."""
    passed: list[tuple[TP, int]] = []

    async def callback(message: Any) -> None:
        passed.append((message.tp, message.offset))

    async def unused(_: set[TP]) -> None:
        raise AssertionError

    app = faust.App("stale", broker="kafka://127.0.0.1:1", autodiscover=False)
    app.topics.acks_enabled_for = lambda topic: False  # type: ignore[method-assign]
    consumer = Consumer(Transport(app.conf.broker, app), callback, unused, unused)

    async def getmany(**_: float) -> AsyncIterator[tuple[TP, Any]]:
        for number, (tp, offset) in enumerate(fetched, 1):
            if number == len(fetched):
                consumer._stopped.set()
            yield tp, SimpleNamespace(tp=tp, topic=tp.topic, offset=offset, key=None, value=None)

    consumer.getmany = getmany  # type: ignore[method-assign]
    await consumer._drain_messages(SimpleNamespace(_stopped=consumer._stopped))
    return passed


async def test_what_is_read_again_is_passed_on(words: None) -> None:
    """Although something from further on has been meanwhile. Ordinary messages are as Faust has them."""
    columnar_ones = [(HERE, 19), (HERE, 29), (HERE, 19)]
    assert await _passed_on(columnar_ones) == columnar_ones
    ordinary = [(ORDINARY, 19), (ORDINARY, 29), (ORDINARY, 19)]
    assert await _passed_on(ordinary) == ordinary[:2]


class _Told:
    """Stands in for all that the pump tells of a fetch that does not follow on. All partitions stand at 10."""

    def __init__(self) -> None:
        self.rewinds = 0
        self.now = 100.0
        self.followed = 0

    def position(self, _topic: str, _partition: int) -> int:
        return 10

    async def follow_logs(self) -> None:
        self.followed += 1
        self.rewinds += 1


async def test_a_gap_is_told_once_for_all_partitions() -> None:
    """Each has had one for a while; when one is looked after, all are read again, and what comes meanwhile is stale."""
    told: Any = _Told()
    unused: Any = None
    pump = Pump(
        told, told, (), unused, unused, unused, traceback_bytes_max=1, clock=lambda: float(told.now)
    )

    async def comes(tp: TP) -> None:
        await pump._out_of_order(Fetch(*tp, 20, 30, b""))

    for _ in range(2):
        for tp in (HERE, THERE):
            await comes(tp)
        told.now += 60
    assert told.followed == 1
    await comes(THERE)
    assert told.followed == 2, "it has not come although it was read again"

"""How much of what is fetched is handed on before it is dealt with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import faust
import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from app.codecs.record_batch import Fetch
from app.kafka.columnar_topics import columnar
from app.kafka.fetching.transport import FETCHES_MAX, Consumer, Transport

HERE, ORDINARY = TP("words", 0), TP("letters", 0)


@pytest.fixture
def words() -> Iterator[None]:
    columnar.add(HERE.topic)
    yield
    columnar.discard(HERE.topic)


def _consumer(bytes_max: int) -> Any:
    async def unused(_: Any) -> None:
        raise AssertionError

    app: Any = faust.App("buffer", broker="kafka://127.0.0.1:1", autodiscover=False)
    app.fetch_bytes_max = bytes_max
    return Consumer(Transport(app.conf.broker, app), unused, unused, unused)


@pytest.mark.parametrize(
    ("bytes_max", "size", "count"), [(1 << 30, 10, FETCHES_MAX), (1000, 400, 3)]
)
async def test_no_more_is_taken_until_some_is_dealt_with(
    words: None, monkeypatch: pytest.MonkeyPatch, bytes_max: int, size: int, count: int
) -> None:
    """By their number or by their bytes, whichever is first; ordinary topics go on."""
    asked: list[set[TP]] = []

    async def getmany(_: Any, active: set[TP], timeout: float) -> dict[TP, Any]:  # noqa: ASYNC109
        asked.append(active)
        return {}

    monkeypatch.setattr(driver.Consumer, "_getmany", getmany)
    consumer = _consumer(bytes_max)
    fetches = [Fetch(*HERE, number, number + 1, bytes(size)) for number in range(count)]
    for fetch in fetches:
        await consumer._getmany({HERE}, 0.1)
        assert asked.pop() == {HERE}
        consumer._to_message(HERE, fetch)
    assert await consumer._getmany({HERE}, 0.001) == {}
    assert not asked
    await consumer._getmany({HERE, ORDINARY}, 0.001)
    assert asked.pop() == {ORDINARY}
    waiting = asyncio.create_task(consumer._getmany({HERE}, 60))
    await asyncio.sleep(0)
    consumer.release(fetches[0])
    assert await asyncio.wait_for(waiting, 10) == {}, "to be asked again"
    await consumer._getmany({HERE}, 0.1)
    assert asked.pop() == {HERE}

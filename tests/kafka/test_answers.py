"""What a broker answers comes whole, however it is cut on its way, and a fetch of it is not copied."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import struct
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import uvloop
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from app.codecs.record_batch import parse
from app.kafka.columnar_topics import columnar
from app.kafka.fetching import answers, transport  # noqa: F401 - installs it
from app.kafka.fetching.answers import Answers
from app.kafka.replays.source_replay import SourceReplay
from tests.seeds import new_seed

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
LARGE = 1 << 16


def _run(new_loop: Callable[[], asyncio.AbstractEventLoop], job: Any) -> Any:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(job)


async def _heard(pieces: list[bytes], count: int) -> list[bytes]:
    """The answers of a broker that sends these bytes, and closes the connection."""

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(send, "127.0.0.1", 0)
    async with server:
        loop = asyncio.get_running_loop()
        port = server.sockets[0].getsockname()[1]
        reader = asyncio.StreamReader()
        other = asyncio.StreamReaderProtocol(reader)
        connection, _ = await loop.create_connection(lambda: other, "127.0.0.1", port)
        connection.set_protocol(heard := Answers(other))
        try:
            return [bytes(await heard.next()) for _ in range(count)]
        finally:
            connection.close()


def _framed(answer: bytes) -> bytes:
    return struct.pack(">i", len(answer)) + answer


@LOOPS
def test_answers_come_as_they_were_sent(new_loop: Any) -> None:
    chance = random.Random(new_seed())
    for _ in range(20):
        sizes = [
            chance.choice([0, 1, 4, 100, LARGE - 1, LARGE, 3 * LARGE])
            for _ in range(chance.randrange(1, 9))
        ]
        sent = [chance.randbytes(size) for size in sizes]
        stream = b"".join(map(_framed, sent))
        cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randrange(40)))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert _run(new_loop, _heard(pieces, len(sent))) == sent


@LOOPS
@pytest.mark.parametrize("rest", [b"", b"\0\0", _framed(bytes(10))[:9], _framed(bytes(LARGE))[:-1]])
def test_a_connection_that_ends_within_an_answer(new_loop: Any, rest: bytes) -> None:
    with pytest.raises(EOFError):
        _run(new_loop, _heard([_framed(b"whole"), rest], 2))


@LOOPS
def test_an_impossible_size_ends_the_connection(new_loop: Any) -> None:
    with pytest.raises(ConnectionError, match="an answer of -1 bytes"):
        _run(new_loop, _heard([struct.pack(">i", -1), _framed(b"junk")], 1))


@pytest.fixture
def large(broker: str, topic_name: Callable[..., str]) -> tuple[str, list[bytes]]:
    """A topic, and the values in it."""
    topic, values = topic_name("large"), [os.urandom(200_000) for _ in range(100)]
    admin = AdminClient({"bootstrap.servers": broker})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    producer = Producer({"bootstrap.servers": broker, "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(60) == 0
    columnar.add(topic)
    return topic, values


async def _read(broker: str, topic: str, count: int) -> tuple[list[bytes], Counter[int]]:
    """The values of so many records, and how many fetches began at which place in memory."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=LARGE,
    )
    await consumer.start()
    found: list[bytes] = []
    places: Counter[int] = Counter()
    try:
        while len(found) < count:
            for fetches in (await consumer.getmany(timeout_ms=1000)).values():
                for fetch in fetches:
                    assert isinstance(fetch.raw, memoryview)
                    places[np.frombuffer(fetch.raw, np.uint8).ctypes.data] += 1
                    records = parse(fetch, check_crc=True)
                    found += [records.value(row) or b"" for row in range(len(records))]
            fetches = fetch = records = None
        return found, places
    finally:
        await consumer.stop()


@pytest.mark.kafka
@LOOPS
def test_fetches_are_views_of_memory_that_is_used_again(
    broker: str, large: tuple[str, list[bytes]], new_loop: Any
) -> None:
    topic, values = large
    found, places = _run(new_loop, _read(broker, topic, len(values)))
    assert found == values
    assert sum(places.values()) > 4 * len(places)


@pytest.mark.kafka
@LOOPS
def test_every_answer_can_be_logged(
    broker: str, large: tuple[str, list[bytes]], new_loop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic, values = large
    caplog.set_level(logging.DEBUG, "aiokafka.conn")
    found, _ = _run(new_loop, _read(broker, topic, len(values)))
    assert found == values
    assert "FetchResponse" in caplog.text


@pytest.mark.kafka
def test_a_rebuild_keeps_nothing_of_partitions_that_it_has_read(
    broker: str, topic_name: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While other partitions go on, and more comes in behind the ends of those."""
    topic = topic_name("rebuilt")
    ends = {number: 8 * number + 4 for number in range(5)} | {5: 100}
    admin = AdminClient({"bootstrap.servers": broker})
    admin.create_topics([NewTopic(topic, len(ends), 1)])[topic].result()
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 0})
    for number, end in ends.items():
        for _ in range(2 * end):
            producer.produce(topic, os.urandom(2 * LARGE), partition=number)
            producer.flush(60)
    lent = []
    lend = answers._BUFFERS.lend

    def noted(size: int) -> Any:
        found = lend(size)
        lent.append(weakref.ref(found.base))
        return found

    monkeypatch.setattr(answers._BUFFERS, "lend", noted)

    async def read() -> dict[int, int]:
        found = dict.fromkeys(ends, 0)
        replay = SourceReplay(broker, "test", topic, fetch_bytes_max=3 * LARGE, timeout_s=60)
        async for fetch in replay.fetches(dict.fromkeys(ends, 0), ends):
            found[fetch.partition] = fetch.end
            del fetch
            await asyncio.sleep(0.01)  # as work on it does: more is read ahead meanwhile
            if 50 < found[5] < 90:
                assert all(found[number] >= ends[number] for number in range(5))
                assert sum(ref() is not None for ref in lent) <= 3
        return found

    found = asyncio.run(read())
    assert all(found[number] >= end for number, end in ends.items())
    assert len(lent) > 30

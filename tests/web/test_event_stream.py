"""Live events: on change and only on change, at a bounded pace, gone with the client."""

from __future__ import annotations

import asyncio
import time

import polars as pl
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app.engine.reading.restore_progress import Restoring
from app.web import event_stream
from app.web.event_stream import EventStreams, Feed
from app.web.limits import WebLimits
from tests.web.fake_reader import MINUTE_MS, FakeReader, FakeTable, describe
from tests.web.serving import next_event, served
from tests.web.shop import revenue, shop

NAME = "revenue_per_minute"


async def test_the_page_at_once_and_then_every_change() -> None:
    reader = shop(0)
    async with served(reader) as client:
        answer = await client.get(f"/api/tables/{NAME}/events?limit=1")
        assert answer.content_type == "text/event-stream"
        version, first = await next_event(answer)
        assert version == "0"
        assert "version" not in first
        await reader.put(NAME, revenue(0, seed=1))
        version, second = await next_event(answer)
        assert version == "1"
        assert first["rows"] != second["rows"]
        rows = await client.get(f"/api/tables/{NAME}/rows?limit=1")
        assert {"version": 1, **second} == await rows.json()


async def test_an_unchanged_page_is_not_sent_again() -> None:
    reader = shop(0)
    async with served(reader) as client:
        answer = await client.get(f"/api/tables/{NAME}/events?window=0")
        await next_event(answer)
        await reader.put(NAME, revenue(MINUTE_MS))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await next_event(answer)


async def test_a_busy_table_is_sent_about_four_times_a_second() -> None:
    reader = shop(0)
    async with served(reader) as client:
        answer = await client.get(f"/api/tables/{NAME}/events")
        await next_event(answer)
        started, events, seed = time.monotonic(), 0, 0

        async def busy() -> None:
            nonlocal seed
            while True:
                seed += 1
                await reader.put(NAME, revenue(0, seed=seed))
                await asyncio.sleep(0.01)

        writing = asyncio.ensure_future(busy())
        while time.monotonic() - started < 1.5:
            version, _ = await next_event(answer)
            events += 1
        writing.cancel()
        assert 2 <= events <= 7
        assert int(version) > 2 * events


async def test_a_restore_is_followed_though_no_checkpoint_comes() -> None:
    reader = FakeReader(FakeTable(describe("odd", {"id": pl.Int64()}, {"n": pl.Int64()})))
    table = reader["odd"]
    async with served(reader) as client:
        pages = [await client.get("/events"), await client.get("/tables/odd/events")]
        for page in pages:
            await next_event(page)
        told = []
        for done, left_s in ((100, None), (600, 7.2)):
            table.restoring = Restoring("odd", (0,), done, 1000, 0, 0.0, left_s)
            told.append([(await next_event(page))[1] for page in pages])
        table.restoring = None
        told.append([(await next_event(page))[1] for page in pages])
    assert [one["rows"][0][1][0][0] for one, _ in told] == [
        "restoring, 10 %",
        "restoring, 60 %, about 8 s left",
        "–",
    ]
    assert [one["status"] for _, one in told] == [
        "The table is restoring, 10 %",
        "The table is restoring, 60 %, about 8 s left",
        "No rows yet",
    ]


async def test_the_list_is_live() -> None:
    reader = shop(0)
    async with served(reader) as client:
        answer = await client.get("/events")
        _, first = await next_event(answer)
        assert [name for name, _ in first["rows"]] == [info.name for info in reader.tables()]
        await reader.put(NAME, revenue(MINUTE_MS))
        _, second = await next_event(answer)
        assert second["rows"][2] == [
            NAME,
            [["1970-01-01 00:01:00 – 00:02:00", "60000 ms to 120000 ms (UTC)"], ["34", ""]],
        ]


def stream_app(streams: EventStreams, feed: Feed[int]) -> web.Application:
    app = web.Application()

    async def handler(request: web.Request) -> web.StreamResponse:
        return await streams.serve(request, feed)

    app.router.add_get("/", handler)
    return app


async def test_a_stream_ends_with_its_client() -> None:
    streams, waiting = EventStreams(9), asyncio.Event()

    async def make() -> tuple[int, bytes]:
        return 1, b"{}"

    async def changed(_: int) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async with TestClient(TestServer(stream_app(streams, Feed(make, changed)))) as client:
        answer = await client.get("/")
        await waiting.wait()
        assert len(streams._open) == 1
        answer.close()
        async with asyncio.timeout(5):
            while streams._open:  # noqa: ASYNC110 - nothing tells of it but the set
                await asyncio.sleep(0.05)


async def test_a_client_that_does_not_read_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "WRITE_S_MAX", 0.3)
    streams, made = EventStreams(9), 0

    async def make() -> tuple[int, bytes]:
        nonlocal made
        made += 1
        return made, b'"%d%s"' % (made, b"x" * 4_000_000)

    async def changed(_: int) -> None:
        return

    feed = Feed(make, changed, interval_s=0.0)
    async with TestClient(TestServer(stream_app(streams, feed))) as client:
        answer = await client.get("/")
        async with asyncio.timeout(10):
            while made == 0 or streams._open:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        assert made < 10
        answer.close()


async def test_a_quiet_stream_shows_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.0)
    reader = shop(0)
    async with served(reader) as client:
        answer = await client.get(f"/api/tables/{NAME}/events?window=0")
        await next_event(answer)
        for _ in range(2):  # changes elsewhere in the table count as quiet
            await reader.put(NAME, revenue(MINUTE_MS))
            async with asyncio.timeout(5):
                assert await answer.content.readline() == b": still here\n"
                assert await answer.content.readline() == b"\n"


async def test_many_streams_leave_time_for_the_rest() -> None:
    streams, busy_s = EventStreams(9), 0.0

    async def make() -> tuple[int, bytes]:
        nonlocal busy_s
        started = time.monotonic()
        await asyncio.sleep(0.02)
        busy_s += time.monotonic() - started
        return time.monotonic_ns(), b"%d" % time.monotonic_ns()

    async def changed(_: int) -> None:
        return

    feed = Feed(make, changed, interval_s=0.0)
    async with TestClient(TestServer(stream_app(streams, feed))) as client:
        answers = [await client.get("/") for _ in range(5)]
        busy_s, started = 0.0, time.monotonic()
        await asyncio.sleep(1)
        assert busy_s < 0.4 * (time.monotonic() - started)
        for answer in answers:
            answer.close()


async def test_the_number_of_streams_is_limited() -> None:
    async with served(shop(0), WebLimits(live_views=1)) as client:
        await client.get("/events")
        answer = await client.get(f"/api/tables/{NAME}/events")
        assert answer.status == 503
        assert "all 1 live views are taken" in (await answer.json())["error"]


async def test_open_streams_do_not_hold_up_a_shutdown() -> None:
    async with served(shop(0)) as client:
        for path in ("/events", f"/tables/{NAME}/events", f"/api/tables/{NAME}/events"):
            await next_event(await client.get(path))
        started = time.monotonic()
        await client.server.close()
        assert time.monotonic() - started < 3

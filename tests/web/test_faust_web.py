"""Our pages on Faust's own web server."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import faust
import pytest

from app.engine.reading.local_answers import LocalAnswers
from app.settings import Settings
from app.web import install
from app.web.limits import WebLimits
from app.worker import Headrace
from tests.web.fake_reader import FakeReader
from tests.web.serving import next_event
from tests.web.shop import nobodys, shop


class App(faust.App):  # type: ignore[misc]
    """A Faust app that does as the worker does."""

    reader: FakeReader

    async def on_start(self) -> None:
        """Install the pages when the reader is there."""
        install(
            self,
            self.reader,
            local=LocalAnswers(self.reader, ThreadPoolExecutor(1)),
            reads=nobodys,
            metrics=lambda: b"",
            health=lambda: (True, {}),
            ready=lambda: (True, {}),
            limits=WebLimits(page_rows=100),
        )


def make_app(web: str) -> App:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = App(
        "pages",
        broker="memory://",
        store="memory://",
        web=web,
        web_bind="127.0.0.1",
        web_host="127.0.0.1",
        web_port=port,
        debug=True,
    )
    app.reader = shop(0)

    @app.page("/own")
    class Own(faust.web.View):  # type: ignore[misc]
        async def get(self, request: object) -> object:
            return self.text("own")

    return app


async def test_the_pages_are_on_fausts_server() -> None:
    app = make_app("headrace://")
    app.worker_init_post_autodiscover()  # as `faust worker` does, long before the start
    await app.on_start()
    await app.web.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{app.conf.web_port}") as client:
            page = await client.get("/")
            assert "revenue_per_minute" in await page.text()
            assert page.headers["Server"] == "Headrace"
            for path in ("/table/", "/router/", "/graph/", "/assignment/"):
                assert (await client.get(path)).status == 404
            assert await (await client.get("/own")).text() == "own"
            foreign = await client.get("/", headers={"Host": "attacker.example"})
            assert foreign.status == 403
            stream = await client.get("/events")
            await next_event(stream)
            started = time.monotonic()
            await app.web.stop()
            assert time.monotonic() - started < 5
    finally:
        await app.web.stop()


async def test_fausts_own_driver_is_refused() -> None:
    app = make_app("aiohttp://")
    with pytest.raises(TypeError, match='needs web="headrace://"'):
        await app.on_start()


async def test_a_port_that_is_taken_meanwhile_is_stepped_around() -> None:
    """It is chosen when the process starts, and used seconds later."""
    app = make_app("headrace://")
    with socket.socket() as quicker:
        quicker.bind(("127.0.0.1", app.conf.web_port))
        quicker.listen()
        await app.on_start()
        await app.web.start()
        try:
            assert app.conf.web_port != quicker.getsockname()[1]
            async with aiohttp.ClientSession(f"http://127.0.0.1:{app.conf.web_port}") as client:
                assert (await client.get("/")).status == 200
        finally:
            await app.web.stop()


def test_without_the_web_there_is_no_server() -> None:
    """Also under `faust worker`, whose own option is on by default."""
    app = Headrace(Settings(web_enabled=False))
    app.conf.web_enabled = True  # as `faust worker` does
    assert app.web not in app.on_init_dependencies()

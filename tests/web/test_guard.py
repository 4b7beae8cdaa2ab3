"""Security headers, the Host guard, methods and static files."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app.web.guard import HEADERS, host_guard, host_of
from tests.web.serving import served
from tests.web.shop import shop

PATHS = (
    "/",
    "/events",
    "/tables/revenue_per_minute",
    "/tables/revenue_per_minute/events",
    "/tables/nope",
    "/api/tables",
    "/api/tables/revenue_per_minute/rows",
    "/api/tables/revenue_per_minute/events",
    "/api/tables/revenue_per_minute/rows?limit=0",
    "/metrics",
    "/health",
    "/ready",
    "/static/headrace.css",
    "/static/headrace.js",
    "/static/headrace.svg",
    "/nothing",
)


async def test_every_answer_has_the_headers() -> None:
    async with served(shop(0)) as client:
        for path in PATHS:
            async with client.get(path) as answer:
                for name, value in HEADERS.items():
                    if name != "Cache-Control" or not path.startswith("/static"):
                        assert answer.headers[name] == value, path
                assert answer.headers["Server"] == "Headrace", path
                assert "unsafe" not in answer.headers["Content-Security-Policy"], path


async def test_nothing_but_get() -> None:
    async with served(shop(0)) as client:
        for path in PATHS:
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                async with client.request(method, path) as answer:
                    assert answer.status in (404, 405), (method, path)
                    assert "Content-Security-Policy" in answer.headers, (method, path)


async def test_a_foreign_host_is_refused() -> None:
    async with served(shop(0)) as client:
        for path in PATHS:
            async with client.get(path, headers={"Host": "attacker.example"}) as answer:
                assert answer.status == 403, path
                assert "Content-Security-Policy" in answer.headers, path


@pytest.mark.parametrize(
    ("hosts", "host", "served_there"),
    [
        ((), "127.0.0.1:6066", True),
        ((), "127.8.9.10", True),
        ((), "localhost:6066", True),
        ((), "LocalHost", True),
        ((), "demo.localhost:1", True),
        ((), "[::1]:6066", True),
        ((), "", False),
        ((), "10.0.0.1", False),
        ((), "0.0.0.0", False),
        ((), "localhost.attacker.example", False),
        ((), "127.0.0.1.attacker.example", False),
        ((), "attacker.example:6066", False),
        (("stream.shop.example",), "stream.shop.example:80", True),
        (("stream.shop.example",), "Stream.Shop.Example.", True),
        (("10.0.0.1",), "10.0.0.1:6066", True),
        (("10.0.0.1",), "10.0.0.2:6066", False),
        (("0.0.0.0",), "10.0.0.2:6066", True),
        (("0.0.0.0",), "attacker.example", False),
        (("::",), "[fe80::1]:6066", True),
    ],
)
async def test_hosts(hosts: tuple[str, ...], host: str, served_there: bool) -> None:
    app = web.Application(middlewares=[host_guard(hosts)])

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app.router.add_get("/", hello)
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/", headers={"Host": host})
        assert answer.status == (200 if served_there else 403)


def test_the_host_without_its_port() -> None:
    assert host_of("[::1]:80") == "::1"
    assert host_of("a.example:80") == "a.example"


async def test_static_files_are_asked_for_again_by_etag() -> None:
    async with served(shop(0)) as client:
        first = await client.get("/static/headrace.css")
        assert first.headers["Cache-Control"] == "no-cache"
        again = await client.get(
            "/static/headrace.css", headers={"If-None-Match": first.headers["ETag"]}
        )
        assert again.status == 304
        assert (await client.get("/static/../mount.py")).status == 404
        assert (await client.get("/static/%2e%2e/mount.py")).status in (403, 404)
        assert (await client.get("/static/")).status in (403, 404)

"""The routes: which address gives what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from app.engine.reading.local_answers import LocalAnswers
from app.engine.reading.reader import TableInfo, TableReader
from app.engine.reading.restore_progress import Restoring
from app.web import list_page, rows_json, rows_query
from app.web.errors import UnknownTable, errors
from app.web.event_stream import EventStreams, Feed
from app.web.group_json import Reads
from app.web.group_routes import GroupRoutes
from app.web.guard import host_guard, secure
from app.web.limits import WebLimits
from app.web.peer_route import PeerRoute
from app.web.peer_wire import PATH
from app.web.rows_page import RowsPage
from app.web.rows_query import RowsQuery
from app.web.single import single
from app.web.table_views import Page, TableViews

STATIC = Path(__file__).with_name("static")
LIST_INTERVAL_S = 1.0

Check = Callable[[], tuple[bool, dict[str, Any]]]


def mount(
    web_app: web.Application,
    reader: TableReader,
    *,
    local: LocalAnswers,
    reads: Reads,
    metrics: Callable[[], bytes],
    health: Check,
    ready: Check,
    limits: WebLimits,
    hosts: Collection[str] = (),
) -> None:
    """Add all routes, the security headers and the Host guard, before the application is started.

    reader:        is asked on the loop that serves; only `window` is called in another thread.
    local:         answers for this worker's partitions when other workers ask.
    reads:         gives the reads of a table, of the whole group, by its name.
    metrics:       gives the Prometheus text of now.
    health, ready: give a yes or no (200 or 503) and what to say about it as JSON.
    limits:        how much is given and kept at most.
    hosts:         host names and addresses to answer to, besides the loopback ones.
    """
    routes = _Routes(reader, limits)
    web_app.middlewares.append(host_guard(hosts))
    web_app.middlewares.append(errors(reader))
    web_app.on_response_prepare.append(secure)
    web_app.on_shutdown.append(routes.close)
    add = web_app.router.add_get
    add("/", routes.list_html)
    add("/events", routes.list_events, allow_head=False)
    add("/tables/{name}", routes.rows_html)
    add("/tables/{name}/events", routes.rows_events, allow_head=False)
    add("/api/tables", routes.list_json)
    add("/api/tables/{name}/rows", routes.rows_json)
    add("/api/tables/{name}/events", routes.json_events, allow_head=False)
    group = GroupRoutes(local, reads, limits.page_rows)
    add("/api/tables/{name}/keys/{key:.*}", group.key)
    add("/api/tables/{name}/windows/{window}", group.window)
    web_app.router.add_post(PATH + "{name}", PeerRoute(local).answer)
    add("/metrics", _metrics(metrics))
    add("/health", _check(health))
    add("/ready", _check(ready))
    web_app.router.add_static("/static", STATIC)


class _Routes:
    def __init__(self, reader: TableReader, limits: WebLimits) -> None:
        self._reader = reader
        self._page_rows_max = limits.page_rows
        self._views = TableViews(reader, limits.view_rows)
        self._streams = EventStreams(limits.live_views)

    async def close(self, _: web.Application) -> None:
        await self._streams.close()
        self._views.close()

    async def list_html(self, _: web.Request) -> web.Response:
        return _html(list_page.html(await self._listed()))

    async def list_json(self, _: web.Request) -> web.Response:
        tables = [
            rows_json.table(info, self._reader.version(info.name), newest, restoring)
            for info, newest, restoring in await self._listed()
        ]
        return _json({"tables": tables})

    async def list_events(self, request: web.Request) -> web.StreamResponse:
        names = [info.name for info in self._reader.tables()]

        restore = _RestoreNews(self._reader, names)

        async def make() -> tuple[tuple[int, ...], bytes]:
            restore.told()
            versions = tuple(map(self._reader.version, names))
            return versions, rows_json.encode(list_page.payload(await self._listed()))

        async def changed(versions: tuple[int, ...]) -> None:
            changes = (self._reader.changed(*one) for one in zip(names, versions, strict=True))
            await _first(*changes, restore.news())

        return await self._streams.serve(request, Feed(make, changed, interval_s=LIST_INTERVAL_S))

    async def rows_html(self, request: web.Request) -> web.Response:
        info, query = self._asked(request)
        limit_max = self._page_rows_max

        def show(page: Page) -> str:
            return RowsPage(info, query, page, self._reader.restoring(info.name)).html(limit_max)

        return _html(await self._views.page(info, query, show))

    async def rows_events(self, request: web.Request) -> web.StreamResponse:
        return await self._follow(request, lambda *shown: RowsPage(*shown).payload())

    async def rows_json(self, request: web.Request) -> web.Response:
        info, query = self._asked(request)

        def show(page: Page) -> dict[str, Any]:
            restoring = self._reader.restoring(info.name)
            return {"version": page.version, **rows_json.rows(info, query, page, restoring)}

        return _json(await self._views.page(info, query, show))

    async def json_events(self, request: web.Request) -> web.StreamResponse:
        return await self._follow(request, rows_json.rows)

    async def _follow(
        self,
        request: web.Request,
        body: Callable[[TableInfo, RowsQuery, Page, Restoring | None], dict[str, Any]],
    ) -> web.StreamResponse:
        info, query = self._asked(request)

        def show(page: Page) -> tuple[int, bytes]:
            restoring = self._reader.restoring(info.name)
            return page.version, rows_json.encode(body(info, query, page, restoring))

        restore = _RestoreNews(self._reader, [info.name])

        async def make() -> tuple[int, bytes]:
            restore.told()
            return await self._views.page(info, query, show)

        async def changed(version: int) -> None:
            await _first(self._reader.changed(info.name, version), restore.news())

        return await self._streams.serve(request, Feed(make, changed))

    async def _listed(self) -> list[list_page.Listed]:
        return [
            (info, await self._views.count(info), self._reader.restoring(info.name))
            for info in self._reader.tables()
        ]

    def _asked(self, request: web.Request) -> tuple[TableInfo, RowsQuery]:
        name = request.match_info["name"]
        info = next((info for info in self._reader.tables() if info.name == name), None)
        if info is None:
            raise UnknownTable(name)
        return info, rows_query.parse(single(request), info, rows_max=self._page_rows_max)


class _RestoreNews:
    """Whether some tables' restore is further than what was told last; looks every LIST_INTERVAL_S."""

    def __init__(self, reader: TableReader, names: Sequence[str]) -> None:
        self._reader = reader
        self._names = names
        self.told()

    def told(self) -> None:
        """What is so now is told."""
        self._told = list(map(self._reader.restoring, self._names))

    async def news(self) -> None:
        """Until it is not so any more."""
        while True:
            await asyncio.sleep(LIST_INTERVAL_S)
            if self._told != list(map(self._reader.restoring, self._names)):
                return


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Until the first of them is done."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html")


def _json(value: Any, *, status: int = 200) -> web.Response:
    body = rows_json.encode(value) + b"\n"
    return web.Response(body=body, status=status, content_type="application/json")


def _metrics(metrics: Callable[[], bytes]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=metrics(), headers=headers)

    return handler


def _check(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_: web.Request) -> web.Response:
        good, facts = check()
        return _json(facts, status=200 if good else 503)

    return handler

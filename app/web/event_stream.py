"""Server-sent events: a body whenever it has changed, at the pace of the slowest side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiohttp import web

INTERVAL_S_MIN = 0.25
BUSY_SHARE_MAX = 0.25
HEARTBEAT_S = 15.0
WRITE_S_MAX = 30.0
_LOOK_S = 1.0

Version = TypeVar("Version")


@dataclass(frozen=True)
class Feed(Generic[Version]):
    """What a stream tells.

    make:       gives the version that is current and the body that belongs to it.
    changed:    returns once the version is another one.
    interval_s: least time between two bodies.
    """

    make: Callable[[], Awaitable[tuple[Version, bytes]]]
    changed: Callable[[Version], Awaitable[object]]
    interval_s: float = INTERVAL_S_MIN


class EventStreams:
    """All open streams of a server.

    They make their bodies one after the other and rest in between, so that together they are
    busy no more than BUSY_SHARE_MAX of the time, however many there are.
    """

    def __init__(self, streams_max: int) -> None:
        self._streams_max = streams_max
        self._open: set[asyncio.Task[object]] = set()
        self._turn = asyncio.Lock()
        self._rested = 0.0
        self._closing = False

    async def serve(self, request: web.Request, feed: Feed[Version]) -> web.StreamResponse:
        """Answer with events until the client goes or the server stops.

        The event `page` has the body; its id is the version. Bodies equal to the last one are
        not sent again. A client that takes nothing for WRITE_S_MAX is dropped.
        """
        if self._closing or len(self._open) >= self._streams_max:
            raise web.HTTPServiceUnavailable(text=f"all {self._streams_max} live views are taken")
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            response = web.StreamResponse()
            response.content_type = "text/event-stream"
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                await _Stream(request, response).run(feed, self._make)
            return response
        finally:
            self._open.discard(task)

    async def _make(self, feed: Feed[Version]) -> tuple[Version, bytes]:
        clock = asyncio.get_running_loop().time
        async with self._turn:
            await asyncio.sleep(max(0.0, self._rested - clock()))
            started = clock()
            made = await feed.make()
            self._rested = clock() + (clock() - started) * (1 / BUSY_SHARE_MAX - 1)
        return made

    async def close(self) -> None:
        """End all streams, so that a server's shutdown need not wait for them."""
        self._closing = True
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=_LOOK_S)


class _Stream:
    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self._clock = asyncio.get_running_loop().time
        self._written = 0.0

    async def run(
        self,
        feed: Feed[Version],
        make: Callable[[Feed[Version]], Awaitable[tuple[Version, bytes]]],
    ) -> None:
        sent: bytes | None = None
        await self._write(b"retry: 1000\n\n")
        while not self._gone():
            started = self._clock()
            version, body = await make(feed)
            if body != sent:
                head = f"event: page\nid: {version}\ndata: ".encode()
                await self._write(head + body + b"\n\n")
                sent = body
            await asyncio.sleep(max(0.0, started + feed.interval_s - self._clock()))
            await self._wait(feed, version)

    async def _wait(self, feed: Feed[Version], version: Version) -> None:
        """Until the version has changed or the client is gone; tell the client that we live."""
        change = asyncio.ensure_future(feed.changed(version))
        try:
            while not change.done() and not self._gone():
                await asyncio.wait({change}, timeout=_LOOK_S)
                if self._clock() - self._written > HEARTBEAT_S:
                    await self._write(b": still here\n\n")
            if change.done():
                change.result()
        finally:
            change.cancel()

    async def _write(self, data: bytes) -> None:
        """Write and wait until the client has taken nearly all of it; ConnectionError if it won't."""
        try:
            async with asyncio.timeout(WRITE_S_MAX):
                await self._response.write(data)
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionAbortedError(f"the client took nothing for {WRITE_S_MAX} s") from None
        self._written = self._clock()

    def _gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()

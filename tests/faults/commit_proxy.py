"""A proxy between workers and their broker that holds up the requests that end a transaction."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_END_TXN = 26
_FLEXIBLE = 3
"""From this version of EndTxn on, the header of an answer has tags."""
_SIZE, _HEADER, _ERROR = struct.Struct(">i"), struct.Struct(">hhi"), struct.Struct(">h")
_THROTTLE_BYTES = 4
_PATIENCE_S = 60


class CommitProxy:
    """Forwards all connections to one port. It runs in a thread of its own, from `start` to `close`."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._armed = False
        self._held, self._answered = threading.Event(), threading.Event()
        self._released = asyncio.Event()
        self._late = 0
        self.port = 0

    def start(self) -> None:
        """Listen, on a port of the kernel's choice."""
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def close(self) -> None:
        """Give all connections up."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def hold_next(self) -> None:
        """Keep the next request to end a transaction back; returns when there is one."""
        for event in (self._held, self._answered, self._released):
            event.clear()
        self._armed = True
        assert self._held.wait(_PATIENCE_S), "nobody ends a transaction"

    def deliver(self) -> int:
        """Send what is held to the broker, whether its sender still waits or not; gives the broker's error code."""
        self._loop.call_soon_threadsafe(self._released.set)
        assert self._answered.wait(_PATIENCE_S), "the broker has not answered"
        return self._late

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with contextlib.closing(to_client):
            try:
                broker, to_broker = await asyncio.open_connection(*self._upstream)
            except OSError:
                return
            late: dict[int, int] = {}
            with contextlib.closing(to_broker):
                back = asyncio.create_task(self._give_back(broker, to_client, late))
                try:
                    await self._send_on(client, to_broker, late)
                    if late:
                        await back
                finally:
                    back.cancel()

    async def _send_on(
        self, client: asyncio.StreamReader, to_broker: asyncio.StreamWriter, late: dict[int, int]
    ) -> None:
        """Until the client has gone. late: gets (number, version) of a request that was held up."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(client)
                key, version, number = _HEADER.unpack_from(frame, _SIZE.size)
                if key == _END_TXN and self._armed:
                    self._armed = False
                    self._held.set()
                    await self._released.wait()
                    late[number] = version
                to_broker.write(frame)
                await to_broker.drain()

    async def _give_back(
        self, broker: asyncio.StreamReader, to_client: asyncio.StreamWriter, late: dict[int, int]
    ) -> None:
        """Until the broker has gone, or has answered what was held up."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(broker)
                version = late.pop(*_SIZE.unpack_from(frame, _SIZE.size), None)
                if version is not None:
                    at = 2 * _SIZE.size + (version >= _FLEXIBLE) + _THROTTLE_BYTES
                    (self._late,) = _ERROR.unpack_from(frame, at)
                    self._answered.set()
                    return
                to_client.write(frame)
                await to_client.drain()
        to_client.close()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(_SIZE.size)
    return size + await reader.readexactly(*_SIZE.unpack(size))


@contextmanager
def commit_proxy(host: str, port: int) -> Iterator[CommitProxy]:
    """One that runs."""
    made = CommitProxy(host, port)
    made.start()
    try:
        yield made
    finally:
        made.close()

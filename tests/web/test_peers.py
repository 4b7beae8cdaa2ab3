"""A worker asks another one over HTTP, and is told when the other is away, is another one, or breaks off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection

import polars as pl
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.engine.language.question import Covered, Piece, Question, Rows
from app.engine.reading.members import Member, PeerError, Place
from app.web import peer_wire
from app.web.peer_client import PeerClient
from app.web.peer_route import PeerRoute
from tests.engine.group import PARTITIONS, group_of
from tests.engine.test_group_answers import by_shop, by_size, three

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """The address of a server with this one route."""
    app = web.Application()
    app.router.add_post(peer_wire.PATH + "{name}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("/")).rstrip("/")


async def told(
    client: PeerClient, member: Member, question: Question, partitions: Collection[int]
) -> tuple[list[Rows], Piece]:
    *rows, end = [piece async for piece in client.ask(member, question, partitions)]
    return [piece for piece in rows if isinstance(piece, Rows)], end


async def test_questions_and_answers() -> None:
    windowed, keyed = by_shop(), by_size()
    async with group_of([windowed, keyed], three()) as group:
        local = group.locals["b"]
        local.place = lambda: Place(7, "member-b")
        client = PeerClient(local.table, timeout_ms=60_000)
        async with served(PeerRoute(local).answer) as address:
            b = Member("member-b", "b", address)
            keys = pl.DataFrame({"size": range(70)}, schema={"size": pl.Int64})
            for question in (
                Question("by_size", keys=keys),
                Question("by_shop", window=20),
                Question("by_shop", window=12345),
                Question("by_shop"),
            ):
                rows, end = await told(client, b, question, range(PARTITIONS))
                assert end == Covered(7, (2, 3))
                own = [piece async for piece in local.answer(question, range(PARTITIONS))]
                expected = [piece for piece in own if isinstance(piece, Rows)]
                assert [item.partition for item in rows] == [item.partition for item in expected]
                for item, other in zip(rows, expected, strict=True):
                    assert sorted(item.frame.rows()) == sorted(other.frame.rows())
                    assert item.frame.schema == other.frame.schema
            with pytest.raises(PeerError, match="answers 421: another worker is meant"):
                await told(client, Member("earlier", "b", address), Question("by_shop"), [2])
            with pytest.raises(PeerError, match=r"answers (400|500)"):
                wrong = pl.DataFrame({"other": ["x"]})
                await told(client, b, Question("by_size", keys=wrong), [2])
        await client.close()


async def test_a_worker_that_cannot_be_asked() -> None:
    windowed = by_shop()
    async with group_of([windowed], three()) as group:
        client = PeerClient(group.locals["a"].table, timeout_ms=300)
        with pytest.raises(PeerError, match="no web server"):
            await told(client, Member("b", "b", ""), Question("by_shop"), [2])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(PeerError, match="cannot be reached"):
            await told(client, Member("b", "b", nobody), Question("by_shop"), [2])

        async def silent(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(
                peer_wire.encode(Rows(2, pl.DataFrame(schema=windowed.row_schema)))
            )
            await asyncio.sleep(30)
            return response

        async with served(silent) as address:
            with pytest.raises(PeerError, match="does not answer within 300 ms"):
                await told(client, Member("b", "b", address), Question("by_shop", window=0), [2])
        await client.close()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "broken off"),
        (peer_wire.encode(Covered(1, (2,)))[:-1], "broken off"),
        (peer_wire.encode(Rows(2, pl.DataFrame(schema=by_shop().row_schema))), "broken off"),
        (peer_wire.encode(Rows(2, pl.DataFrame({"x": [1]}))), "cannot be read: the columns are"),
        (b"\0\0\0\2\0\0\0\3abc", "cannot be read: no Arrow frame"),
        (b"\xff\xff\xff\xff\0\0\0\3abc", "cannot be read"),
        (b"\0\0\0\2\xff\xff\xff\xff", "has a frame of 4294967295 bytes"),
        (b"HTTP is not what it was", "has a frame of|broken off|cannot be read"),
    ],
)
async def test_a_damaged_answer(body: bytes, reason: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    windowed = by_shop()
    async with group_of([windowed], three()) as group, served(answer) as address:
        client = PeerClient(group.locals["a"].table, timeout_ms=30_000)
        with pytest.raises(PeerError, match=reason):
            await told(client, Member("b", "b", address), Question("by_shop", window=0), [2])
        await client.close()


async def test_one_frame_can_be_sent_while_it_is_looked_at() -> None:
    """Polars' lock of a frame that is written, and the GIL: together they stopped a worker once."""
    frame = pl.DataFrame({"n": range(1000)})

    async def look() -> None:
        for _ in range(300):
            await asyncio.to_thread(len, frame)

    encodings = [asyncio.to_thread(peer_wire.encode_frame, frame) for _ in range(300)]
    await asyncio.gather(look(), look(), *encodings)

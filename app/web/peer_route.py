"""Answers other workers of the group; see `peer_wire` for what is said."""

from __future__ import annotations

import asyncio

from aiohttp import web

from app.engine.language.question import Question
from app.engine.reading.local_answers import LocalAnswers
from app.web import peer_wire
from app.web.errors import UnknownTable
from app.web.peer_schemas import keys_schema
from app.web.rows_query import QueryError

ANSWERS_MAX = 200
WRITE_TIMEOUT_S = 30.0


class PeerRoute:
    """The route by which this worker answers for its own partitions."""

    def __init__(self, local: LocalAnswers) -> None:
        self._local = local
        self._answering = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Stream the answer to a question."""
        if request.headers.get(peer_wire.FOR_MEMBER, "") != self._local.place().member:
            raise web.HTTPMisdirectedRequest(text="another worker is meant, or an earlier one")
        if self._answering >= ANSWERS_MAX:
            raise web.HTTPServiceUnavailable(text=f"{ANSWERS_MAX} answers are under way already")
        self._answering += 1
        try:
            return await self._stream(request)
        finally:
            self._answering -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        question, partitions = await self._asked(request)
        response = web.StreamResponse()
        response.content_type = peer_wire.CONTENT_TYPE
        await response.prepare(request)
        async for piece in self._local.answer(question, partitions):
            data = await asyncio.to_thread(peer_wire.encode, piece)
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await response.write(data)
        return response

    async def _asked(self, request: web.Request) -> tuple[Question, set[int]]:
        name = request.match_info["name"]
        info = self._local.table(name)
        if info is None:
            raise UnknownTable(name)
        try:
            partitions = {int(number) for number in request.query["partitions"].split(",")}
            window = int(request.query["window"]) if "window" in request.query else None
            data = await _body(request)
            keys = None
            if data:
                keys = await asyncio.to_thread(peer_wire.decode_frame, data, keys_schema(info))
        except (KeyError, ValueError) as error:
            raise QueryError(f"no question: {error!r}") from None
        return Question(name, keys, window), partitions


async def _body(request: web.Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > peer_wire.KEYS_BYTES_MAX:
            raise web.HTTPRequestEntityTooLarge(peer_wire.KEYS_BYTES_MAX, size)
        chunks.append(chunk)
    return b"".join(chunks)

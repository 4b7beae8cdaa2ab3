"""Asks other workers of the group over HTTP; see `peer_wire` for what is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection

from aiohttp import ClientError, ClientSession, ClientTimeout

from app.engine.language.question import Piece, Question
from app.engine.reading.members import Member, PeerError
from app.engine.reading.reader import TableInfo
from app.web import peer_wire
from app.web.peer_schemas import answer_schema


class PeerClient:
    """Asks workers. To be used on one event loop.

    table:      describes a table.
    timeout_ms: for connecting, and for each pause in an answer.
    """

    def __init__(self, table: Callable[[str], TableInfo | None], timeout_ms: int) -> None:
        self._table = table
        self._timeout_ms = timeout_ms
        self._session: ClientSession | None = None

    async def close(self) -> None:
        """Give up the connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self, member: Member, question: Question, partitions: Collection[int]
    ) -> AsyncIterator[Piece]:
        """The pieces of a worker's answer, of which `Covered` is the last. Raises PeerError."""
        if not member.address:
            raise PeerError("it has no web server (HEADRACE_WEB_ENABLED=false)")
        info = self._table(question.table)
        assert info is not None
        keys = question.keys
        body = b"" if keys is None else await asyncio.to_thread(peer_wire.encode_frame, keys)
        try:
            async with self._opened().post(
                member.address + peer_wire.path(question, partitions),
                data=body,
                headers={peer_wire.FOR_MEMBER: member.id},
                allow_redirects=False,
            ) as answer:
                if answer.status != 200:
                    text = (await answer.content.read(300)).decode(errors="replace").strip()
                    raise PeerError(f"{member.address} answers {answer.status}: {text}")
                async for piece in peer_wire.decode(answer.content, answer_schema(info, question)):
                    yield piece
        except TimeoutError:
            raise PeerError(
                f"{member.address} does not answer within {self._timeout_ms} ms"
            ) from None
        except (ClientError, OSError) as error:
            raise PeerError(f"{member.address} cannot be reached: {error}") from error
        except asyncio.IncompleteReadError:
            raise PeerError(f"{member.address} has broken off its answer") from None

    def _opened(self) -> ClientSession:
        if self._session is None:
            pause_s = self._timeout_ms / 1000
            limits = ClientTimeout(total=None, sock_connect=pause_s, sock_read=pause_s)
            self._session = ClientSession(timeout=limits)
        return self._session

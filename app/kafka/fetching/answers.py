"""A broker's answers, received where they stay.

aiokafka reads by a StreamReader, and each byte of a fetch is copied four times before it is a fetch's: out of the event
loop's buffer, into the reader's, out of it, and out of the answer. Here the system writes an answer into memory that
was used before, and a fetch is a view of it.
"""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import Callable
from typing import Final

import aiokafka.conn as conn
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.types import Bytes

from app.codecs.buffers import Buffers

FETCH_BYTES_MAX: Final = 16 << 20
"""Of the answer to one fetch, unless one batch alone is larger: as much as one partition's fetch can keep."""
_SIZE: Final = struct.Struct(">i")
_LENT_BYTES_MIN: Final = 1 << 16
"""Of an answer; and of what is a view of it: aiokafka wants all else as bytes, and no text is so long."""
_BUFFERS: Final = Buffers(spare_bytes_max=2 * FETCH_BYTES_MAX)


class Answers(asyncio.BufferedProtocol):
    """Takes the answers of one connection apart, in the place of the protocol that feeds aiokafka's reader.

    replaced: that one. It is still told all but what comes: aiokafka writes by it, and waits for its end. As many
    answers can wait to be taken as aiokafka has requests under way.
    """

    def __init__(self, replaced: asyncio.Protocol) -> None:
        self._replaced = replaced
        self._answers: asyncio.Queue[memoryview | BaseException] = asyncio.Queue()
        self._await_size()

    async def next(self) -> memoryview:
        """The next answer. Raises what ended the connection once there are no more, EOFError if nothing did."""
        found = await self._answers.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def get_buffer(self, _: int) -> memoryview:
        """Where to write what comes: first the four bytes of an answer's size, then its own memory."""
        return self._room[self._filled :]

    def buffer_updated(self, size: int) -> None:
        """So many bytes have come. Raises ConnectionError for what no broker says."""
        self._filled += size
        if self._filled < len(self._room):
            return
        if self._sized:
            answer = self._room
            self._await_size()
            self._answers.put_nowait(answer)
        else:
            self._await_answer(_SIZE.unpack(self._room)[0])

    def _await_size(self) -> None:
        self._room, self._filled, self._sized = memoryview(bytearray(_SIZE.size)), 0, False

    def _await_answer(self, size: int) -> None:
        if size < 0:
            raise ConnectionError(f"an answer of {size} bytes: what listens there is not Kafka")
        lent = size >= _LENT_BYTES_MIN
        room = _BUFFERS.lend(size).data if lent else memoryview(bytearray(size))
        self._room, self._filled, self._sized = room, 0, True
        if not size:
            self.buffer_updated(0)

    def eof_received(self) -> bool | None:
        """The broker says no more."""
        self._answers.put_nowait(EOFError("the broker has closed the connection"))
        return self._replaced.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self._answers.put_nowait(exc or EOFError("the connection is closed"))
        self._replaced.connection_lost(exc)

    def pause_writing(self) -> None:
        """The broker takes nothing more for now."""
        self._replaced.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._replaced.resume_writing()


class _View:
    """Stands in for the BytesIO of a fetch's answer: the records that are read of it are views."""

    def __init__(self, answer: memoryview) -> None:
        self._answer = answer.toreadonly()
        self._at = 0

    def read(self, size: int) -> bytes | memoryview:
        """The next bytes."""
        found = self._answer[self._at : self._at + size]
        self._at += len(found)
        return found if len(found) >= _LENT_BYTES_MIN else bytes(found)


class _IoModule:
    """Stands in for the module `io` where aiokafka reads answers."""

    @staticmethod
    def BytesIO(answer: bytes | memoryview) -> io.BytesIO | _View:
        return _View(answer) if isinstance(answer, memoryview) else io.BytesIO(answer)


_reader_task = conn.AIOKafkaConnection._create_reader_task


def _create_reader_task(connection: conn.AIOKafkaConnection) -> asyncio.Task[None]:
    """From now on, and before the broker has been asked anything."""
    answers = Answers(connection._protocol)
    connection._writer.transport.set_protocol(answers)
    connection._answers = answers
    task: asyncio.Task[None] = _reader_task(connection)
    return task


async def _read(connection_ref: Callable[[], conn.AIOKafkaConnection | None]) -> None:
    """The body of a connection's task. Like aiokafka's, it lets the connection go while it waits."""
    connection = connection_ref()
    if connection is None:
        return
    answers = connection._answers
    del connection
    while True:
        answer = await answers.next()
        connection = connection_ref()
        if connection is None:
            return
        _, request, _ = connection._requests[0]
        fetched = getattr(request, "API_KEY", None) == FetchRequest.API_KEY
        connection._handle_frame(answer if fetched else bytes(answer))
        del connection, request, answer


_repr = Bytes.repr


def _repr_of_view(value: bytes | memoryview | None) -> str:
    """aiokafka puts whole answers into its log where that is to hold everything."""
    text: str = _repr(bytes(value[:101]) if isinstance(value, memoryview) else value)
    return text


def install() -> None:
    """Put our own in the place of aiokafka's; fail at start-up if aiokafka has changed its names."""
    for owner, name in (
        (conn, "io"),
        (conn.AIOKafkaConnection, "_read"),
        (conn.AIOKafkaConnection, "_handle_frame"),
    ):
        if not hasattr(owner, name):
            raise ImportError(f"{owner} has no {name}: this aiokafka is not the pinned version")
    conn.io = _IoModule
    conn.AIOKafkaConnection._create_reader_task = _create_reader_task
    conn.AIOKafkaConnection._read = staticmethod(_read)
    Bytes.repr = staticmethod(_repr_of_view)

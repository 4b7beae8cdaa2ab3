"""A broker's answers, received where they stay.

aiokafka reads by a StreamReader, and each byte of a fetch is copied four times before it is a fetch's: out of the event
loop's buffer, into the reader's, out of it, and out of the answer. Here the system writes an answer into memory that
was used before, and a fetch is a view of it.
"""

from __future__ import annotations

import asyncio
import functools
import io
import struct
from collections.abc import Callable
from typing import Final

import aiokafka.conn as conn
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.types import Bytes

from app.codecs.buffers import Buffers

_SIZE: Final = struct.Struct(">i")
_LENT_BYTES_MIN: Final = 1 << 16
"""Of an answer; and of what is a view of it: aiokafka wants texts and the like as bytes."""
_BUFFERS: Final = Buffers(spare_bytes_max=32 << 20)


class Answers(asyncio.BufferedProtocol):
    """Takes the answers of one connection apart, in the place of the protocol that feeds aiokafka's reader.

    The other one is still told all but what comes: aiokafka writes by it, and waits for its end.
    """

    def __init__(self, other: asyncio.Protocol) -> None:
        self._other = other
        self._answers: asyncio.Queue[memoryview | BaseException] = asyncio.Queue()
        self._begin()

    async def next(self) -> memoryview:
        """The next answer. Raises EOFError or OSError once there are no more."""
        found = await self._answers.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def get_buffer(self, _: int) -> memoryview:
        """Where to write what comes: first the four bytes of an answer's size, then its own memory."""
        return self._room[self._filled :]

    def buffer_updated(self, size: int) -> None:
        """So many bytes have come."""
        self._filled += size
        if self._filled < len(self._room):
            return
        whole = self._room
        if self._sized:
            self._begin()
            self._answers.put_nowait(whole)
        else:
            self._begin(_SIZE.unpack(whole)[0])

    def _begin(self, size: int | None = None) -> None:
        """Wait for an answer of this size, or for the size of one."""
        self._sized, self._filled = size is not None, 0
        wanted = _SIZE.size if size is None else size
        lent = wanted >= _LENT_BYTES_MIN
        self._room = _BUFFERS.lend(wanted).data if lent else memoryview(bytearray(wanted))

    def eof_received(self) -> bool | None:
        """The broker says no more."""
        self._answers.put_nowait(EOFError("the broker has closed the connection"))
        return self._other.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self._answers.put_nowait(exc or EOFError("the connection is closed"))
        self._other.connection_lost(exc)

    def pause_writing(self) -> None:
        """The broker takes nothing more for now."""
        self._other.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._other.resume_writing()


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


class _Io:
    """Stands in for the module `io` where aiokafka reads answers."""

    @staticmethod
    def BytesIO(answer: bytes | memoryview) -> io.BytesIO | _View:
        return _View(answer) if isinstance(answer, memoryview) else io.BytesIO(answer)


_create_reader_task = conn.AIOKafkaConnection._create_reader_task


def _receive(connection: conn.AIOKafkaConnection) -> asyncio.Task[None]:
    """From now on, and before the broker has been asked anything."""
    answers = Answers(connection._protocol)
    connection._writer.transport.set_protocol(answers)
    connection._answers = answers
    task: asyncio.Task[None] = _create_reader_task(connection)
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


@functools.wraps(_repr)
def _repr_of_view(value: bytes | memoryview | None) -> str:
    """aiokafka puts whole answers into its log where that is to hold everything."""
    text: str = _repr(bytes(value[:101]) if isinstance(value, memoryview) else value)
    return text


def install() -> None:
    """Put our own in the place of aiokafka's; fail at start-up if aiokafka has changed its names."""
    for owner, name in (
        (conn, "io"),
        (conn.AIOKafkaConnection, "_create_reader_task"),
        (conn.AIOKafkaConnection, "_read"),
        (conn.AIOKafkaConnection, "_handle_frame"),
    ):
        if not hasattr(owner, name):
            raise ImportError(f"{owner} has no {name}: this aiokafka is not the pinned version")
    conn.io = _Io
    conn.AIOKafkaConnection._create_reader_task = _receive
    conn.AIOKafkaConnection._read = staticmethod(_read)
    Bytes.repr = staticmethod(_repr_of_view)

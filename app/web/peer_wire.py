"""How workers write questions and answers to each other: Arrow frames, each with its partition and its length.

The request is `POST /peers/tables/NAME?partitions=0,3` with the keys as an Arrow IPC stream, or with `window=START`
and no body, or with neither. It names the member of the group that it is meant for. The answer ends with the
partition -1 and, as JSON, what it has covered; one that breaks off before that is no answer.
"""

from __future__ import annotations

import io
import struct
from collections.abc import AsyncIterator, Collection

import msgspec
import polars as pl
from aiohttp import StreamReader

from app.engine.language.question import Covered, Piece, Question, Rows
from app.engine.reading.members import PeerError

PATH = "/peers/tables/"
FOR_MEMBER = "Headrace-For-Member"
CONTENT_TYPE = "application/vnd.headrace.rows"
KEYS_BYTES_MAX = 32 << 20
FRAME_BYTES_MAX = 256 << 20

_HEAD = struct.Struct(">iI")
_END = -1


def path(question: Question, partitions: Collection[int]) -> str:
    """The address of a question, without the keys."""
    window = "" if question.window is None else f"&window={question.window}"
    return f"{PATH}{question.table}?partitions={','.join(map(str, sorted(partitions)))}{window}"


def encode_frame(frame: pl.DataFrame) -> bytes:
    """An Arrow IPC stream.

    Of a clone: Polars locks a frame that it writes, and wants the GIL meanwhile to write to a Python object;
    another thread that has the GIL and looks at the same frame would wait for that lock for ever.
    """
    out = io.BytesIO()
    frame.clone().write_ipc_stream(out, compression="lz4")
    return out.getvalue()


def decode_frame(data: bytes, schema: pl.Schema) -> pl.DataFrame:
    """Read it back. ValueError: it is none, or of other columns."""
    try:
        frame = pl.read_ipc_stream(data)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ValueError(f"no Arrow frame: {error}") from error
    if frame.schema != schema:
        raise ValueError(f"the columns are {frame.schema}, not {schema}")
    return frame


def encode(piece: Piece) -> bytes:
    """A piece of an answer."""
    if isinstance(piece, Rows):
        number, body = piece.partition, encode_frame(piece.frame)
    else:
        number, body = _END, msgspec.json.encode(piece)
    return _HEAD.pack(number, len(body)) + body


async def decode(stream: StreamReader, schema: pl.Schema) -> AsyncIterator[Piece]:
    """The pieces of an answer. PeerError: it is damaged. asyncio.IncompleteReadError: it breaks off."""
    while True:
        number, length = _HEAD.unpack(await stream.readexactly(_HEAD.size))
        if length > FRAME_BYTES_MAX:
            raise PeerError(f"its answer has a frame of {length} bytes")
        body = await stream.readexactly(length)
        try:
            if number == _END:
                yield msgspec.json.decode(body, type=Covered)
                return
            yield Rows(number, decode_frame(body, schema))
        except (ValueError, msgspec.MsgspecError) as error:
            raise PeerError(f"its answer cannot be read: {error}") from error

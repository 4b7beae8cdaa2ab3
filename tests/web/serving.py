"""The pages behind a test client."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from app.web.limits import WebLimits
from tests.web.fake_reader import FakeReader
from tests.web.shop import LIMITS, application


@contextlib.asynccontextmanager
async def served(reader: FakeReader, limits: WebLimits = LIMITS) -> AsyncIterator[TestClient]:
    """A client of the pages over a reader."""
    async with TestClient(TestServer(application(reader, limits))) as client:
        yield client


async def next_event(answer: ClientResponse) -> tuple[str, Any]:
    """Id and body of the next event of a stream."""
    fields: dict[str, str] = {}
    while True:
        line = (await answer.content.readline()).decode().rstrip("\n")
        assert line or fields or not answer.content.at_eof(), "the stream ended"
        if not line and "data" in fields:
            return fields["id"], json.loads(fields["data"])
        if not line:
            fields = {}
        name, _, value = line.partition(": ")
        fields[name] = value

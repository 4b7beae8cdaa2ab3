"""A reader of changelogs whose broker takes connections and says nothing."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator

import pytest

from app.kafka.changelogs import reader as changelog_reader
from app.kafka.changelogs.reader import ChangelogError, ChangelogReader


@pytest.fixture
def silent() -> Iterator[str]:
    """Its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
async def test_it_is_given_up_without_harm_to_others(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is left, which Python would end some day in whatever loop runs there."""
    monkeypatch.setattr(changelog_reader, "_ANSWER_S_MAX", 0.5)
    bystander = asyncio.create_task(asyncio.sleep(3600))
    before = set(threading.enumerate())
    gc.disable()
    try:
        told = await asyncio.to_thread(_opened, silent)
    finally:
        gc.enable()
    assert told.startswith("Kafka: ")
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        assert thread.name != "headrace-changelogs"
    await asyncio.sleep(0)
    assert not bystander.done()
    assert not bystander.cancelling()
    bystander.cancel()


def _opened(servers: str) -> str:
    """Why it could not be opened."""
    try:
        ChangelogReader(servers, "test", fetch_bytes=1 << 20, buffer_bytes=1 << 20, wait_ms=20)
    except ChangelogError as error:
        return str(error)
    raise AssertionError

"""A process says where its threads and tasks are."""

from __future__ import annotations

import asyncio
import threading
import time
from types import ModuleType

from app.monitoring.whereabouts import whereabouts


def _ours() -> ModuleType:
    """A module as of ours, with something that waits in a coroutine of another module, and in a thread."""
    module = ModuleType("app.example")
    source = """
async def outer(inner):
    async for _ in steps(inner):
        pass
async def steps(inner):
    yield await inner
def blocks(event):
    event.wait()
"""
    exec(source, module.__dict__)
    return module


async def test_tasks_and_threads_of_all_loops_are_told() -> None:
    """The innermost call first, through `async for`, those of other modules included; tasks of others are left out."""
    ours, never, free = _ours(), asyncio.Event(), threading.Event()
    started = threading.Event()

    async def in_a_thread() -> None:
        event = asyncio.Event()
        task = asyncio.create_task(ours.outer(event.wait()), name="theirs")
        await asyncio.sleep(0)
        started.set()
        ours.blocks(free)
        task.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(in_a_thread()), name="stuck")
    thread.start()
    task = asyncio.create_task(ours.outer(never.wait()), name="waits")
    foreign = asyncio.create_task(never.wait(), name="foreign")
    try:
        assert await asyncio.to_thread(started.wait, 10)
        deadline = time.monotonic() + 10
        while " < app.example:8 blocks < " not in (found := dict(whereabouts()))["thread stuck"]:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.01)
    finally:
        free.set()
        thread.join()
        task.cancel()
        foreign.cancel()
    for name in ("task waits", "task theirs"):
        calls = found[name].split(" < ")
        assert calls[0].startswith("asyncio.locks:"), calls
        assert calls[-2:] == ["app.example:6 steps", "app.example:3 outer"]
    assert "task foreign" not in found

"""What runs for as long as the worker does."""

from __future__ import annotations

import asyncio

import pytest

from app.parts import unless_cancelled_by_others


async def _wait_for(future: asyncio.Future[None]) -> None:
    await future


async def test_a_library_that_cancels_whoever_waits_for_it_ends_the_worker() -> None:
    future = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(unless_cancelled_by_others(_wait_for(future)))
    await asyncio.sleep(0)
    future.cancel()
    with pytest.raises(RuntimeError, match="_wait_for"):
        await task


async def test_the_worker_s_own_end_is_none_of_these() -> None:
    future = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(unless_cancelled_by_others(_wait_for(future)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

"""Several asynchronous iterators as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class _End:
    error: Exception | None = None


async def merged(sources: Sequence[AsyncIterator[Item]]) -> AsyncIterator[Item]:
    """The items of all sources as they come. None of them runs ahead by more than one item each."""
    queue: asyncio.Queue[Item | _End] = asyncio.Queue(max(len(sources), 1))

    async def pump(source: AsyncIterator[Item]) -> None:
        end = _End()
        try:
            async for item in source:
                await queue.put(item)
        except Exception as error:
            end = _End(error)
        await queue.put(end)

    tasks = [asyncio.ensure_future(pump(source)) for source in sources]
    try:
        left = len(tasks)
        while left:
            item = await queue.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is None:
                left -= 1
            else:
                raise item.error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

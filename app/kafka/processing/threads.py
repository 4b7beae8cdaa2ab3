"""The threads in which batches are worked on, and how they share the processor with those that answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

_NICENESS = 10

Item = TypeVar("Item")
Result = TypeVar("Result")


def give_way() -> None:
    """Let the threads go first that answer to reads, pages and the group: a batch is long, and in no such hurry.

    Polars' pool inherits it from the engine's thread, the first that uses it; most of the gain is there.
    """
    if sys.platform == "linux":  # elsewhere it would be the whole process
        os.nice(_NICENESS)


class ThreadedMap:
    """`map` in the calling thread and, if the process may use several cores, in one that helps.

    That one gives way to others, and comes late or not at all to what is soon done. There are no more of them: what
    each works on is in memory at the same time, and Polars' own thread serves them all.
    """

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(1, name, initializer=give_way)
        self._helps = _cores() > 1

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The results in the order of the items. One has failed: its error, once nothing is being done any more."""
        if not self._helps:
            return list(map(function, items))
        left: SimpleQueue[tuple[int, Item]] = SimpleQueue()
        for numbered in enumerate(items):
            left.put(numbered)
        work = partial(_work, function, left)
        helper = self._threads.submit(work)
        try:
            done = work()
        finally:
            idle = helper.cancel()
            if not idle:
                wait([helper])
        if not idle:
            done |= helper.result()
        return [done[number] for number in sorted(done)]

    def close(self) -> None:
        """End the thread that helps."""
        self._threads.shutdown()


def _work(
    function: Callable[[Item], Result], left: SimpleQueue[tuple[int, Item]]
) -> dict[int, Result]:
    """Take what is left, one after the other; the results by number."""
    done: dict[int, Result] = {}
    while True:
        try:
            number, item = left.get_nowait()
        except Empty:
            return done
        done[number] = function(item)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1

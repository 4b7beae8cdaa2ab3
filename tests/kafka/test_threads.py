"""Threads that work on batches let those go first that answer to reads, pages and the group."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier, Event

import pytest

from app.kafka.processing.threads import ThreadedMap, _cores, give_way

linux = pytest.mark.skipif(sys.platform != "linux", reason="no priorities of threads")
several_cores = pytest.mark.skipif(_cores() < 2, reason="one thread for one core")


@linux
def test_only_its_own_thread_gives_way() -> None:
    before = os.nice(0)
    with ThreadPoolExecutor(1, initializer=give_way) as thread:
        assert thread.submit(os.nice, 0).result() > before
    assert os.nice(0) == before


@linux
@several_cores
def test_the_thread_that_helps_gives_way() -> None:
    before, both = os.nice(0), Barrier(2, timeout=30)

    def niceness(_: int) -> int:
        both.wait()
        return os.nice(0)

    with closing(ThreadedMap("test")) as each:
        assert sorted(each(niceness, range(2)))[0] == before < sorted(each(niceness, range(2)))[1]


def test_results_come_in_the_order_of_the_items() -> None:
    with closing(ThreadedMap("test")) as each:
        assert each(lambda number: number * number, range(50)) == [n * n for n in range(50)]
        assert each(str, []) == []


@several_cores
@pytest.mark.parametrize("number", [0, 1])
def test_an_error_comes_when_nothing_is_being_done_any_more(number: int) -> None:
    """What one of them reads must not go away below it."""
    both, ended = Barrier(2, timeout=30), Event()

    def work(here: int) -> None:
        both.wait()
        if here == number:
            raise ValueError("number")
        time.sleep(0.1)
        ended.set()

    with closing(ThreadedMap("test")) as each:
        with pytest.raises(ValueError, match="number"):
            each(work, range(2))
        assert ended.is_set()

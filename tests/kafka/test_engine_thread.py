"""The thread that decodes and groups lets those go first that answer to reads, pages and the group."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.kafka.processing.runner import _give_way


@pytest.mark.skipif(sys.platform != "linux", reason="no priorities of threads")
def test_only_its_own_thread_gives_way() -> None:
    before = os.nice(0)
    with ThreadPoolExecutor(1, initializer=_give_way) as thread:
        assert thread.submit(os.nice, 0).result() > before
    assert os.nice(0) == before

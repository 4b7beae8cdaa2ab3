"""Where all threads and tasks of this process are: what a process that stands still should say before it ends."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from types import FrameType
from typing import Any

_TOLD = ("app.", "faust.transport.")
"""Modules whose tasks are told; of other libraries' there are many, and they wait by themselves."""
_FRAMES_MAX = 40
_TASKS_MAX = 200
_TRIES = 1000
_KINDS = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))


def whereabouts() -> Iterator[tuple[str, str]]:
    """(name, its calls) of each thread, and of the tasks that are in our code; the innermost call comes first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        yield f"thread {names.get(ident, ident)}", _calls(_outwards(frame))
    for task in islice(_tasks(), _TASKS_MAX):
        frames = list(_inwards(task.get_coro()))[::-1]
        if any(_module(frame).startswith(_TOLD) for frame in frames):
            yield f"task {task.get_name()}", _calls(frames)


def _tasks() -> Iterable[asyncio.Task[Any]]:
    """Of the loops of all threads; asyncio's own list of them is not public, and `all_tasks` is of one loop."""
    known: Any = getattr(asyncio.tasks, "_all_tasks", None)
    if known is None:
        known = getattr(asyncio.tasks, "_scheduled_tasks", ())
    for _ in range(_TRIES):
        with suppress(RuntimeError):  # another thread has made one meanwhile
            return [task for task in list(known) if not task.done()]
    return []


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _inwards(awaited: Any) -> Iterator[FrameType]:
    """From a task's coroutine to what it waits for in the end; `Task.get_stack` knows the first of them only."""
    while awaited is not None:
        for frame, inner in _KINDS:
            if hasattr(awaited, frame):
                if (found := getattr(awaited, frame)) is not None:
                    yield found
                awaited = getattr(awaited, inner)
                break
        else:  # `async for` waits for a step of a generator, which names it to nobody else
            referents = gc.get_referents(awaited)
            awaited = next((item for item in referents if hasattr(item, "ag_frame")), None)


def _calls(frames: Iterable[FrameType]) -> str:
    return " < ".join(
        f"{_module(frame)}:{frame.f_lineno} {frame.f_code.co_name}"
        for frame in islice(frames, _FRAMES_MAX)
    )


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "?"))

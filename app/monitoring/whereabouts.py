"""Where all threads and tasks of this process are: what a process that stands still should say before it ends."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_OURS = "app."
_FRAMES_MAX = 40


def whereabouts() -> Iterator[tuple[str, str]]:
    """(name, its calls) of each thread, and of each task that is in our code; the innermost call comes first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        yield f"thread {names.get(ident, ident)}", _told(_outwards(frame))
    for task in _tasks():
        frames = list(_inwards(task.get_coro()))[::-1]
        if any(_module(frame).startswith(_OURS) for frame in frames):
            yield f"task {task.get_name()}", _told(iter(frames))


def _tasks() -> list[asyncio.Task[Any]]:
    """Of the loops of all threads; asyncio's own list of them is not public, and `all_tasks` is of one loop."""
    known: Any = getattr(asyncio.tasks, "_all_tasks", None)
    if known is None:
        known = getattr(asyncio.tasks, "_scheduled_tasks", ())
    return [task for task in list(known) if not task.done()]


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _inwards(awaited: Any) -> Iterator[FrameType]:
    """From a task's coroutine to what it waits for in the end; `Task.get_stack` knows the first of them only."""
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                awaited = getattr(awaited, f"{kind}_await" if kind != "gi" else "gi_yieldfrom")
                break
        else:
            return


def _told(frames: Iterator[FrameType]) -> str:
    calls = [
        f"{_module(frame)}:{frame.f_lineno} {frame.f_code.co_name}"
        for _, frame in zip(range(_FRAMES_MAX), frames, strict=False)
    ]
    return " < ".join(calls)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "?"))

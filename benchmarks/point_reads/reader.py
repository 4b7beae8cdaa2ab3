"""Reads keys of a table at a steady rate, and notes how long each takes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from random import Random

from app.engine.language.parts_missing import PartsMissingError
from app.engine.language.table import Table, TableNotRunningError
from benchmarks.meter import report

TICK_S = 0.002
REPORT_INTERVAL_S = 0.5
_RETRY_S = 0.1
_SEED = 11
_SHARE_MIN = 0.95


async def read_steadily(
    table: Table, users: Sequence[str], rate: int, warm_up_s: int, seconds: int
) -> None:
    """Read `rate` random ones of these keys a second, however long the answers take, and report the times in ms.

    A time begins when the read was due, so that a stall counts for all that were due meanwhile; the part of it
    until the event loop came to the read is told beside it. What is read in the warm-up is not counted.
    """
    random = Random(_SEED)
    await _ready(table, users)
    ages_ms: Counter[int] = Counter()
    begun_ms: Counter[int] = Counter()
    found = 0

    async def read(due: float, counted: bool) -> None:
        nonlocal found
        if counted:
            begun_ms[round(1000 * (time.perf_counter() - due))] += 1
        rows = await table.get(random.choice(users))
        found += bool(len(rows))
        if counted:
            ages_ms[round(1000 * (time.perf_counter() - due))] += 1

    total, sent = rate * (warm_up_s + seconds), 0
    reads: set[asyncio.Task[None]] = set()
    started, reported = time.perf_counter(), 0.0
    while sent < total:
        await asyncio.sleep(TICK_S)
        now = time.perf_counter()
        while sent < total and (due := started + sent / rate) <= now:
            reads.add(asyncio.create_task(read(due, sent >= rate * warm_up_s)))
            sent += 1
        done = {task for task in reads if task.done()}
        reads -= done
        for task in done:
            task.result()
        if now - reported > REPORT_INTERVAL_S:
            reported = now
            report(reads=sent)
    await asyncio.gather(*reads)
    elapsed = time.perf_counter() - started
    report(
        reads=sent,
        found=found,
        seconds=elapsed,
        ages_ms=sorted(ages_ms.items()),
        begun_ms=sorted(begun_ms.items()),
    )


async def _ready(table: Table, keys: Sequence[str]) -> None:
    """Wait until the table is served, and nearly all keys are in it."""
    while True:
        try:
            rows = await table.range(keys)
            if rows[table.by[0]].n_unique() > _SHARE_MIN * len(keys):
                return
        except (TableNotRunningError, PartsMissingError):
            pass
        await asyncio.sleep(_RETRY_S)

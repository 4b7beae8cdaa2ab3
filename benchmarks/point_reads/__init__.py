"""The main job in Headrace, and a task of its worker that reads one key after the other meanwhile."""

from __future__ import annotations

import os

from benchmarks.events import Workload
from benchmarks.main_job import app
from benchmarks.main_job.totals import totals_per_user
from benchmarks.point_reads.reader import read_steadily

USERS = next(Workload(int(os.environ["BENCH_POOL_EVENTS"])).chunks())["user"].unique().to_list()
RATE = int(os.environ["BENCH_READS_PER_SECOND"])
WARM_UP_S = int(os.environ["BENCH_WARM_UP_SECONDS"])
SECONDS = int(os.environ["BENCH_SECONDS"])


@app.task
async def read() -> None:
    """Read while events come."""
    await read_steadily(totals_per_user, USERS, RATE, WARM_UP_S, SECONDS)

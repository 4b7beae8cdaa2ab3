"""Measures how fast a worker without its data directory gets its state back, and checks what it got."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.state.rocksdb_store import RocksDBStore
from benchmarks.check import differences
from benchmarks.child import Child, ChildError, cpu_seconds
from benchmarks.events import Workload
from benchmarks.main_job_run import START_S_MAX, measured
from benchmarks.scrape import free_port, sums
from benchmarks.unwindowed_run import WORKER, answer, rows_of
from benchmarks.workbench import Workbench

WORKER_ID = "restored"


def run_restore(bench: Workbench) -> dict[str, Any]:
    """Speed, memory and correctness of a restore of a table without windows, by one process on one core.

    A worker makes the state; a second one has its place in the group and none of its files. The time is the
    worker's own: from the first question to the group's offsets until the tables are restored.
    """
    bench.compile_kernels()
    scale = bench.scale
    workload = Workload(scale.restore_events, scale.restore_keys)
    topic = bench.events_topic(workload)
    settings = {"BENCH_TOPIC": topic, "HEADRACE_WORKER_ID": WORKER_ID}
    port = str(free_port())
    with bench.child("restore-before", WORKER, **settings, HEADRACE_WEB_PORT=port) as worker:
        group = worker.environment["HEADRACE_APP_ID"]
        measured(bench, worker, topic, group, "make the state")
    settings |= {"HEADRACE_APP_ID": group, "BENCH_CORE": "0"}
    port = str(free_port())
    with (
        bench.step("restore", 1) as step,
        bench.child("restore", WORKER, **settings, HEADRACE_WEB_PORT=port) as worker,
    ):
        _wait_until_ready(worker)
        step.at(1)
        facts = sums(int(port))
        cpu_s = cpu_seconds(worker.pid)
        memory_mb = worker.peak_memory_mb()
    path = Path(worker.environment["HEADRACE_DATA_DIR"]) / "state" / group / WORKER_ID / "rocksdb"
    found = _stored(path, workload.partitions)
    faults = differences(answer(workload), found)
    seconds = facts["headrace_restore_seconds_total"]
    return {
        "keys": found.height,
        "seconds": seconds,
        "keys_per_second": found.height / seconds,
        "records": int(facts["headrace_restore_records_total"]),
        "cpu_seconds": cpu_s,
        "peak_memory_mb": memory_mb,
        "correct": not faults,
        "differences": faults,
    }


def _wait_until_ready(worker: Child) -> None:
    for report in worker.reports(START_S_MAX):
        if "ready" in report:
            return
    raise ChildError("the worker has ended before its tables were restored")


def _stored(path: Path, partitions: int) -> Any:
    """The table's rows, from the store of a worker that has ended."""
    store = RocksDBStore(path, block_cache_mb=32, write_buffer_mb=16)
    try:
        return rows_of(lambda number: _live(store, number), partitions)
    finally:
        store.close()


def _live(store: RocksDBStore, partition: int) -> dict[bytes, bytes]:
    from benchmarks.unwindowed.totals import lifetime_per_user as table

    keys = list(store.heads(table.name, partition))
    return dict(zip(keys, store.read(table.name, partition, keys), strict=True))

"""What the state of a table costs alone: deltas to segments, merges, closes, and the changelog's record batches.

Run with `python -m benchmarks.state_bench`. It is the main job's table with so many keys that most rows of a window
are of different ones, on one core, without a broker and with a dict for a store. The processor's time does not tell
how long a disk takes, but shows what the larger benchmarks' noise would hide.
"""

import os

if __name__ == "__main__":
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # before Polars is imported

import sys
import time
from collections import defaultdict

import numpy as np
import polars as pl

from app.engine.batch_columns import OFFSET, TIME
from app.engine.processing.checkpoint import Checkpoint
from app.engine.state.sizes import Budget, Sizes
from app.engine.state.table_partition import TablePartition
from app.engine.state.watermark import Progress
from app.kafka.transactions.outbox import Outbox
from benchmarks.events import WINDOW_MS
from benchmarks.main_job.totals import totals_per_user

KEYS = 250_000
WINDOWS = 4
ROUNDS = 5
CASES = ((14, 22_000), (2, 156_000))
"""Checkpoints per window, and rows that each of them brings."""


class StateRun:
    """Some windows of one table partition. checkpoints: per window. rows: of each."""

    def __init__(self, checkpoints: int, rows: int) -> None:
        random = np.random.default_rng(7)
        self.rows = WINDOWS * checkpoints * rows
        self._sizes = Sizes()
        self._deltas = [
            (start + (number + 1) * WINDOW_MS // (checkpoints + 1), _delta(random, start, rows))
            for start in range(WINDOW_MS, (WINDOWS + 1) * WINDOW_MS, WINDOW_MS)
            for number in range(checkpoints)
        ]

    def run(self) -> tuple[int, int]:
        """Checkpoint after checkpoint; gives the rows of closed windows, and the bytes for the changelog."""
        item = TablePartition(totals_per_user, 0, (0,), 1, self._sizes)
        store: dict[bytes, bytes] = {}
        outbox, counts = Outbox("bench"), defaultdict(lambda: 1)
        closed = sent = 0
        for now, delta in self._deltas:
            budget = Budget(self._sizes.merge_bytes_max)
            change = item.prepare(
                [delta],
                {0: Progress(now)},
                lambda keys: [store[key] for key in keys],
                {"bench/0": now},
                budget,
            )
            assert change is not None
            closed += sum(map(len, change.closed))
            batches = outbox.batches(Checkpoint({}, changes=[change]), counts)
            sent += sum(len(batch.sealed(1, 1, 1)) for batch in batches)
            for key in change.deletes:
                del store[key]
            store.update(change.puts)
            item.apply(change)
        outbox.close()
        return closed, sent


def _delta(random: np.random.Generator, start: int, rows: int) -> pl.DataFrame:
    """A partial of each of so many events of the window that begins at `start`."""
    frame = pl.DataFrame(
        {
            "user": "user-" + pl.Series(random.integers(0, KEYS, rows)).cast(pl.String),
            "amount": random.integers(0, 10_000, rows) / 100,
            TIME: random.integers(start, start + WINDOW_MS, rows),
            OFFSET: np.arange(rows),
        }
    )
    singles = totals_per_user.singles(frame)
    assert singles is not None
    return singles


def main() -> None:
    for checkpoints, rows in CASES:
        run = StateRun(checkpoints, rows)
        run.run()  # compiles the kernels, or loads them
        seconds = []
        for _ in range(ROUNDS):
            before = time.process_time()
            _, sent = run.run()
            seconds.append(time.process_time() - before)
        what = f"{checkpoints} checkpoints of {rows:,} rows a window"
        sys.stdout.write(
            f"{what:<44}{min(seconds) / run.rows * 1e9:6.0f} ns and {sent / run.rows:5.1f} bytes a row\n"
        )


if __name__ == "__main__":
    main()

"""What the state of a table costs alone: deltas to segments, merges, closes, and the changelog's record batches.

Run with `python -m benchmarks.state_bench`. It is the main job's table with so many keys that most rows of a window
are of different ones, and a table without windows while its keys come again and again; on one core, without a broker
and with a dict for a store. The processor's time does not tell how long a disk takes, but shows what the larger
benchmarks' noise would hide.
"""

import os

if __name__ == "__main__":
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # before Polars is imported

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from app.engine.batch_columns import OFFSET, TIME
from app.engine.language.table import Table
from app.engine.processing.checkpoint import Checkpoint
from app.engine.state.sizes import Budget, Sizes
from app.engine.state.table_partition import TablePartition
from app.engine.state.watermark import Progress
from app.kafka.transactions.outbox import Outbox
from benchmarks.events import WINDOW_MS
from benchmarks.main_job.totals import totals_per_user
from benchmarks.unwindowed.totals import lifetime_per_user


@dataclass(frozen=True)
class Case:
    """One table partition. windows: of event time. checkpoints: per window. rows: of each. rounds: the best counts."""

    what: str
    table: Table
    keys: int
    windows: int
    checkpoints: int
    rows: int
    rounds: int

    def deltas(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """What comes, each with the stream time after it; the same at each call."""
        random = np.random.default_rng(7)
        for start in range(WINDOW_MS, (self.windows + 1) * WINDOW_MS, WINDOW_MS):
            for number in range(self.checkpoints):
                now = start + (number + 1) * WINDOW_MS // (self.checkpoints + 1)
                yield now, self._delta(random, start)

    def _delta(self, random: np.random.Generator, start: int) -> pl.DataFrame:
        """A partial of each of so many events of the window that begins at `start`."""
        frame = pl.DataFrame(
            {
                "user": "user-"
                + pl.Series(random.integers(0, self.keys, self.rows)).cast(pl.String),
                "amount": random.integers(0, 10_000, self.rows) / 100,
                TIME: random.integers(start, start + WINDOW_MS, self.rows),
                OFFSET: np.arange(self.rows),
            }
        )
        singles = self.table.singles(frame)
        assert singles is not None
        return singles


CASES = (
    Case("14 checkpoints of 22,000 rows a window", totals_per_user, 250_000, 4, 14, 22_000, 5),
    Case("2 checkpoints of 156,000 rows a window", totals_per_user, 250_000, 4, 2, 156_000, 5),
    Case("84 checkpoints, no windows", lifetime_per_user, 2_500_000, 1, 84, 150_000, 2),
)


class Found(NamedTuple):
    """seconds: of processor time, of each checkpoint. closed: rows of closed windows. sent: bytes for the changelog."""

    seconds: list[float]
    closed: int
    sent: int


def run(case: Case) -> Found:
    """Checkpoint after checkpoint."""
    sizes = Sizes()
    item = TablePartition(case.table, 0, (0,), 1, sizes)
    store: dict[bytes, bytes] = {}
    outbox, counts = Outbox("bench"), defaultdict(lambda: 1)
    seconds: list[float] = []
    closed = sent = 0
    for now, delta in case.deltas():
        before = time.process_time()
        change = item.prepare(
            [delta],
            {0: Progress(now)},
            lambda keys: [store[key] for key in keys],
            {"bench/0": now},
            Budget(sizes.merge_bytes_max),
        )
        assert change is not None
        closed += sum(map(len, change.closed))
        batches = outbox.batches(Checkpoint({}, changes=[change]), counts)
        sent += sum(len(batch.sealed(1, 1, 1)) for batch in batches)
        for key in change.deletes:
            del store[key]
        store.update(change.puts)
        item.apply(change)
        seconds.append(time.process_time() - before)
    outbox.close()
    return Found(seconds, closed, sent)


def main() -> None:
    run(CASES[0])  # compiles the kernels, or loads them
    for case in CASES:
        found = min((run(case) for _ in range(case.rounds)), key=lambda found: sum(found.seconds))
        rows = len(found.seconds) * case.rows
        cost = f"{sum(found.seconds) / rows * 1e9:6.0f} ns and {found.sent / rows:5.1f} bytes a row"
        parts = "" if case.table.windowed else _parts(found.seconds, case.rows)
        sys.stdout.write(f"{case.what:<44}{cost}{parts}\n")


def _parts(seconds: list[float], rows: int) -> str:
    fifth = len(seconds) // 5
    first, last = (sum(part) / fifth / rows * 1e9 for part in (seconds[:fifth], seconds[-fifth:]))
    return f"; {first:.0f} ns in the first fifth, {last:.0f} in the last"


if __name__ == "__main__":
    main()

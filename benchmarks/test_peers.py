"""The main job in the peers, beside `test_main_job.py` in the same run."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.peers import QUIX, STOCK_FAUST, run_peer
from benchmarks.stopwatch import stopwatch

pytestmark = pytest.mark.benchmark(timer=stopwatch, group="main job")


def test_stock_faust(measure: Any) -> None:
    """Stock Faust with a RocksDB tumbling table."""
    facts = measure(
        "stock_faust",
        lambda bench: run_peer(bench, "stock_faust", STOCK_FAUST, bench.scale.stock_faust_events),
    )
    assert facts["events_per_second"] > 0


def test_quix(measure: Any) -> None:
    """Quix Streams with its RocksDB state."""
    facts = measure("quix", lambda bench: run_peer(bench, "quix", QUIX, bench.scale.quix_events))
    assert facts["events_per_second"] > 0

"""The Faust app of a benchmark's worker: Headrace with its settings, and `Marks` for the runner."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from app.settings import load_settings
from app.start import prepare_process
from benchmarks.marks import Marks

if TYPE_CHECKING:
    from app.worker import Headrace

APP_ID = load_settings().app_id
TOPIC = os.environ.get("BENCH_TOPIC", f"{APP_ID}.events")
"""The source topic; the runner makes and fills it."""


def new_app() -> Headrace:
    """An app without tables and agents; `load` them."""
    settings = load_settings()
    if core := os.environ.get("BENCH_CORE"):  # before there are any threads
        os.sched_setaffinity(0, {int(core)})
    prepare_process(settings)
    from app.worker import Headrace  # Polars reads its settings when it is imported

    app = Headrace(settings)
    app.sensors.add(Marks())
    return app

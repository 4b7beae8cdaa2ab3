"""The main job in Headrace: `faust -A benchmarks.main_job worker`."""

from __future__ import annotations

import sys

from benchmarks.worker_app import new_app

app = new_app()

from benchmarks.main_job.events import MainJobEvent, MainJobTotal  # noqa: E402

app.load([MainJobEvent, MainJobTotal], sys.modules[__name__])

"""A table without windows in Headrace: `faust -A benchmarks.unwindowed worker`."""

from __future__ import annotations

import sys

from benchmarks.worker_app import new_app

app = new_app()

from benchmarks.main_job.events import MainJobEvent  # noqa: E402
from benchmarks.unwindowed.totals import lifetime_per_user  # noqa: E402, F401

app.load([MainJobEvent], sys.modules[__name__])

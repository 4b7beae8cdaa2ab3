"""A worker that emits every event on: `faust -A benchmarks.pass_through worker`."""

from __future__ import annotations

import sys

from benchmarks.worker_app import new_app

app = new_app()

from benchmarks.pass_through.events import PassedOn, Step  # noqa: E402

app.load([Step, PassedOn], sys.modules[__name__])

"""The latency benchmark's agent."""

from __future__ import annotations

from typing import Any

from benchmarks.pass_through import app
from benchmarks.pass_through.events import PassedOn, Step


@app.agent(Step)
async def pass_on(steps: Any) -> None:
    """Emit every event as it is."""
    async for batch in steps:
        batch.emit(PassedOn, batch.frame)

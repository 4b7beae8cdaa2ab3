"""The test application with an agent that reads a table, when a sale of the amount READ asks for it."""

from __future__ import annotations

from tests.kafka.job import Sale, app, user_totals

READ = 1_000_000


@app.agent(Sale)
async def read_all(sales):
    """Read all windows of a table, most of which nothing else touches any more."""
    async for batch in sales:
        if (batch.frame["amount"] == READ).any():
            async for _ in user_totals.here.scan():
                pass

"""An agent on batches: whole columns at once."""

from __future__ import annotations

import polars as pl

from app import Stream, app
from app.events.large_order import LargeOrder
from app.events.order_placed import OrderPlaced

LARGE = 1000.0


@app.agent(OrderPlaced)
async def flag_large_orders(orders: Stream[OrderPlaced]) -> None:
    """Emit LargeOrder for every order over a thousand."""
    async for batch in orders:
        batch.emit(LargeOrder, batch.frame.filter(pl.col("amount") > LARGE))

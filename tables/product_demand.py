"""Demand per minute and product."""

from __future__ import annotations

import polars as pl

from app import Table, count, maximum, minimum, total, tumbling
from app.events.cart_updated import CartUpdated
from app.events.product_demand_counted import ProductDemandCounted

quantity = pl.col("quantity")

product_demand = Table(
    "product_demand",
    description="What goes into carts and out again, per product and minute.",
    source=CartUpdated,
    by="product",
    window=tumbling("1m", grace="10s"),
    columns={
        "changes": count(),
        "added": total("quantity", where=quantity > 0),
        "removed": total("quantity", where=quantity < 0),
        "smallest_cart": minimum("cart_value"),
        "largest_cart": maximum("cart_value"),
    },
    emit=ProductDemandCounted,
)

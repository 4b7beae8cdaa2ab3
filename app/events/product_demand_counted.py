"""The demand for a product within one minute is known."""

from __future__ import annotations

from app import Event


class ProductDemandCounted(
    Event, type="product.demand_counted", topic="product-demand", key="product"
):
    """How many pieces of a product went into carts and out again within one minute; times in ms."""

    window_start: int
    window_end: int
    product: str
    changes: int
    added: int
    removed: int
    smallest_cart: float
    largest_cart: float

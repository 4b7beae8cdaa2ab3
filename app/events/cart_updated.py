"""A cart has been changed."""

from __future__ import annotations

from app import Event


class CartUpdated(Event, type="cart.updated", topic="carts", key="visitor_id"):
    """A visitor has put a product into the cart, or taken it out."""

    visitor_id: str
    product: str
    quantity: int
    """Pieces added; negative: taken out."""
    cart_value: float
    """Of the whole cart afterwards, in the shop's currency."""

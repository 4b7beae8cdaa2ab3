"""A parcel has left."""

from __future__ import annotations

from app import Event


class ShipmentSent(Event, type="shipment.sent", topic="shipments", key="order_id"):
    """The parcel of an order has been handed to the carrier."""

    order_id: str
    carrier: str
    country: str
    weight_kg: float
    express: bool

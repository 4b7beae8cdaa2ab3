"""A carrier's parcels to a country within one minute are counted."""

from __future__ import annotations

from app import Event


class ShipmentsCounted(Event, type="shipments.counted", topic="shipment-counts", key="carrier"):
    """What a carrier has taken for a country within one minute; times in ms."""

    window_start: int
    window_end: int
    carrier: str
    country: str
    parcels: int
    express_parcels: int
    weight_kg: float

"""Parcels per minute, carrier and country."""

from __future__ import annotations

import polars as pl

from app import Table, count, total, tumbling
from app.events.shipment_sent import ShipmentSent
from app.events.shipments_counted import ShipmentsCounted

shipments_per_minute = Table(
    "shipments_per_minute",
    description="What each carrier takes for each country, minute by minute.",
    source=ShipmentSent,
    by=("carrier", "country"),
    window=tumbling("1m", grace="10s"),
    columns={
        "parcels": count(),
        "express_parcels": count(where=pl.col("express")),
        "weight_kg": total("weight_kg"),
    },
    emit=ShipmentsCounted,
)

"""Aggregates, one file each."""

from app.engine.aggregates.aggregate import EVENTS, Aggregate
from app.engine.aggregates.count import count
from app.engine.aggregates.latest import latest
from app.engine.aggregates.maximum import maximum
from app.engine.aggregates.mean import mean
from app.engine.aggregates.minimum import minimum
from app.engine.aggregates.total import total

__all__ = ["EVENTS", "Aggregate", "count", "latest", "maximum", "mean", "minimum", "total"]

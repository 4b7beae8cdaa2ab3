"""Headrace: a high-throughput, exactly-once stream processor on Kafka.

`app` is the Faust app that `faust -A app worker` starts, and beside it is the language that users write:

    from app import Event, Stream, Table, app, count, latest, mean, total, tumbling

Each name is looked up when it is first asked for, so that importing a part of the package (the engine, a
codec) starts nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.engine.aggregates import count, latest, maximum, mean, minimum, total
    from app.engine.language.parts_missing import PartsMissingError
    from app.engine.language.table import Table
    from app.engine.processing.agent import Stream
    from app.engine.windows import tumbling
    from app.events.event import Event
    from app.worker import Headrace

    app: Headrace

__all__ = [
    "Event",
    "PartsMissingError",
    "Stream",
    "Table",
    "app",
    "count",
    "latest",
    "maximum",
    "mean",
    "minimum",
    "total",
    "tumbling",
]

_PLACES = {
    "Event": "app.events.event",
    "PartsMissingError": "app.engine.language.parts_missing",
    "Stream": "app.engine.processing.agent",
    "Table": "app.engine.language.table",
    "tumbling": "app.engine.windows",
    **dict.fromkeys(
        ("count", "latest", "maximum", "mean", "minimum", "total"), "app.engine.aggregates"
    ),
}


def __getattr__(name: str) -> Any:
    if name == "app":
        from app.start import create_app

        return create_app(globals())
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'app' has no attribute {name!r}")

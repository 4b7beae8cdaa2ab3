"""Headrace: a high-throughput, exactly-once stream processor on Kafka.

`app` is the Faust app that `faust -A app worker` starts. It is made when it is first asked for, so that
importing a part of the package (the engine, a codec) starts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.worker import Headrace

    app: Headrace

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'app' has no attribute {name!r}")
    from app.start import create_app

    return create_app(globals())

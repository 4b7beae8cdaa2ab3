"""The test application, with a publisher that gives up once whenever the file TEST_FUSE is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from app.kafka.transactions.publisher import Publisher, UnknownOutcomeError
from tests.kafka.job import app

__all__ = ["app"]

_fuse = Path(os.environ["TEST_FUSE"])
_publish = Publisher.publish


def publish(self: Publisher, checkpoint: Any, membership: Any) -> Any:
    """Nothing is sent, and nobody can say so."""
    if checkpoint.events and _fuse.exists():
        _fuse.unlink()
        raise UnknownOutcomeError("made to fail")
    return _publish(self, checkpoint, membership)


Publisher.publish = publish  # type: ignore[method-assign]

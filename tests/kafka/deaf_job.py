"""The test application, with a consumer whose requests for events have no end while the file TEST_DEAF is there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from aiokafka.consumer.fetcher import Fetcher

from tests.kafka.job import app

__all__ = ["app"]

_deaf = Path(os.environ["TEST_DEAF"])
_fetch = Fetcher._proc_fetch_request


def fetch(self: Fetcher, *args: Any) -> Coroutine[Any, Any, Any]:
    """Nothing comes, and nothing fails."""
    return asyncio.Event().wait() if _deaf.exists() else _fetch(self, *args)


Fetcher._proc_fetch_request = fetch

"""Asks a worker's JSON API for the rows of a table's window."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

_PAGE_ROWS = 500
_TIMEOUT_S = 20.0
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PageError(RuntimeError):
    """The worker's web server does not answer as it should."""


def kept_rows(address: str, table: str, window: int) -> list[dict[str, Any]]:
    """All rows of one window, open or closed; empty when the worker does not keep it.

    Raises PageError.
    """
    rows: list[dict[str, Any]] = []
    while True:
        query = urllib.parse.urlencode({"window": window, "offset": len(rows), "limit": _PAGE_ROWS})
        answer = get(f"{address}/api/tables/{table}/rows?{query}")
        rows += answer["rows"]
        if len(rows) >= answer["total"] or not answer["rows"]:
            return rows


def ready(address: str) -> bool:
    """Whether the worker owns its partitions and has restored its tables."""
    try:
        get(f"{address}/ready")
    except PageError:
        return False
    return True


def get(url: str) -> Any:
    """The JSON at an address. Raises PageError."""
    try:
        with _direct.open(url, timeout=_TIMEOUT_S) as answer:
            return json.load(answer)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise PageError(f"{url}: {error}") from error

"""The parameters of a request, each given once."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from app.web.rows_query import QueryError


def single(request: web.Request) -> Mapping[str, str]:
    """The parameters. QueryError: one is given more than once."""
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise QueryError(f"parameter {name!r} is given more than once")
    return request.query

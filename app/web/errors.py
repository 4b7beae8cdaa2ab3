"""Errors as pages, or as JSON below /api/."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from app.engine.language.reads import TableKeyError
from app.engine.reading.reader import TableReader
from app.web.layout import error_page
from app.web.rows_json import encode
from app.web.rows_query import QueryError


class UnknownTable(LookupError):
    """There is no table of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no table {name!r}.")


def errors(reader: TableReader) -> Middleware:
    """Middleware that answers wrong requests so that one sees what to change."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except (QueryError, TableKeyError) as error:
            return _answer(request, reader, 400, str(error.args[0]))
        except UnknownTable as error:
            return _answer(request, reader, 404, str(error))
        except web.HTTPNotFound:
            return _answer(request, reader, 404, "There is nothing at this address.")
        except web.HTTPServiceUnavailable as error:
            return _answer(request, reader, 503, error.text or error.reason)

    return middleware


def _answer(request: web.Request, reader: TableReader, status: int, message: str) -> web.Response:
    if request.path.startswith("/api/"):
        return web.Response(
            status=status,
            body=encode({"error": message}) + b"\n",
            content_type="application/json",
        )
    page = error_page(HTTPStatus(status).phrase, message, reader.tables())
    return web.Response(status=status, text=page, content_type="text/html")

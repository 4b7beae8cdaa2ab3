"""The routes that answer for the whole group, whichever worker is asked."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from app.engine.language.parts_missing import PartsMissingError
from app.engine.reading.local_answers import LocalAnswers
from app.engine.reading.reader import TableInfo
from app.web import group_json, rows_json, rows_query
from app.web.errors import UnknownTable
from app.web.single import single
from app.web.table_views import FirstRows

WINDOWS_AT_A_TIME_MAX = 2
"""Each is read in full, to filter and sort it, though never in memory as a whole; further requests wait."""


class GroupRoutes:
    """Gives rows of all workers as JSON. An answer that is not whole has the status 503, and the rows it has.

    rows_max: of one answer.
    """

    def __init__(self, local: LocalAnswers, reads: group_json.Reads, rows_max: int) -> None:
        self._local = local
        self._reads = reads
        self._rows_max = rows_max
        self._windows = asyncio.Semaphore(WINDOWS_AT_A_TIME_MAX)

    async def key(self, request: web.Request) -> web.Response:
        """The rows of one key, the newest window first."""
        info = self._table(request)
        key = group_json.key(info, request.match_info["key"])
        missing = None
        try:
            rows = await self._reads(info.name).get(key)
        except PartsMissingError as error:
            rows, missing = error.rows, error
        return _answer(
            missing,
            table=info.name,
            total=len(rows),
            rows=rows_json.records(rows.head(self._rows_max)),
        )

    async def window(self, request: web.Request) -> web.Response:
        """The rows of one window, filtered and sorted as `rows` does."""
        info = self._table(request)
        asked = single(request)
        if "window" in asked:
            raise rows_query.QueryError("unknown parameter 'window'; it stands in the address")
        asked = {**asked, "window": request.match_info["window"]}
        query = rows_query.parse(asked, info, rows_max=self._rows_max)
        if query.window == "all":
            raise rows_query.QueryError("one window is given at a time: its start in ms, or newest")
        rows = FirstRows(info, query)
        async with self._windows:
            missing = await self._add(rows, info, query.window)
        body = rows_json.rows(info, query, rows.page())
        del body["windows_left_out"], body["truncated"]
        return _answer(missing, **body)

    async def _add(
        self, rows: FirstRows, info: TableInfo, window: str | int
    ) -> PartsMissingError | None:
        """Add a window's rows, frame by frame; what is missing of them."""
        reads = self._reads(info.name)
        missing = None
        if window == "newest":
            try:
                starts = await reads.windows()
            except PartsMissingError as error:
                starts, missing = error.rows["window"].to_list(), error
            window = max(starts, default=0)
        try:
            async for frame in reads.scan(int(window)):
                await asyncio.to_thread(rows.add, frame)
        except PartsMissingError as error:
            return error
        return missing

    def _table(self, request: web.Request) -> TableInfo:
        name = request.match_info["name"]
        info = self._local.table(name)
        if info is None:
            raise UnknownTable(name)
        return info


def _answer(missing: PartsMissingError | None, **body: Any) -> web.Response:
    data = rows_json.encode({**group_json.whole(missing), **body}) + b"\n"
    if missing is None:
        return web.Response(body=data, content_type="application/json")
    return web.Response(
        body=data, content_type="application/json", status=503, headers={"Retry-After": "1"}
    )

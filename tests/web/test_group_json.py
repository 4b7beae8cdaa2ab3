"""Keys and windows of the whole group as JSON."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from app.engine.aggregates import count
from app.engine.language.table import Table
from app.web import mount
from app.web.group_json import key
from app.web.limits import WebLimits
from app.web.rows_query import QueryError
from tests.engine.group import PARTITIONS, SALES, Group, Owner, group_of
from tests.engine.sales import Sale
from tests.engine.test_group_answers import by_shop, by_size, three
from tests.web.fake_reader import describe


def by_pair() -> Table:
    return Table("by_pair", source=Sale, by=("region", "gift"), columns={"sales": count()})


@contextlib.asynccontextmanager
async def served(*owners: Owner) -> AsyncIterator[tuple[TestClient, Group]]:
    tables = {table.name: table for table in (by_shop(), by_size(), by_pair())}
    async with group_of(list(tables.values()), owners) as group:
        app = web.Application()
        local = group.locals["a"]
        mount(
            app,
            group.reader,
            local=local,
            reads=lambda name: group.reads(tables[name]),
            metrics=lambda: b"",
            health=lambda: (True, {}),
            ready=lambda: (True, {}),
            limits=WebLimits(page_rows=15),
        )
        async with TestClient(TestServer(app)) as client:
            yield client, group


async def got(client: TestClient, path: str) -> tuple[int, Any]:
    answer = await client.get(URL(f"/api/tables/{path}", encoded=True))
    return answer.status, json.loads(await answer.text())


async def test_a_key_of_the_group() -> None:
    async with served(*three()) as (client, group):
        for size in range(0, SALES, 7):
            assert await got(client, f"by_size/keys/{size}") == (
                200,
                {
                    "whole": True,
                    "missing": [],
                    "table": "by_size",
                    "total": 1,
                    "rows": [{"size": size, "sales": 1, "sum": size}],
                },
            )
        _, body = await got(client, "by_shop/keys/shop%203")
        assert [row["window_start"] for row in body["rows"]] == [40, 20, 0]
        assert (await got(client, "by_shop/keys/a%2Fb"))[1]["rows"] == []
        pair = quote('["region 3",false]', safe="")
        _, body = await got(client, f"by_pair/keys/{pair}")
        odd = [n for n in range(SALES) if n % 7 == 3 and n % 2 == 1]
        assert body["rows"] == [{"region": "region 3", "gift": False, "sales": len(odd)}]

        group.owners[1].alive = False
        found = [await got(client, f"by_size/keys/{size}") for size in range(SALES)]
        missing = [body for status, body in found if status == 503]
        assert 0 < len(missing) < SALES
        for body in missing:
            assert (body["whole"], body["rows"]) == (False, [])
            assert [part["reason"] for part in body["missing"]] == ["b: it is dead"]


async def test_a_window_of_the_group() -> None:
    async with served(*three()) as (client, group):
        status, body = await got(client, "by_shop/windows/20?sort=sum&order=desc&limit=3")
        assert (status, body["whole"], body["window"]) == (200, True, 20)
        assert (body["total"], body["total_unfiltered"]) == (10, 10)
        assert [row["sum"] for row in body["rows"]] == [29, 28, 27]
        status, body = await got(client, "by_shop/windows/newest?filter=shop%2012")
        assert [(row["window_start"], row["sum"]) for row in body["rows"]] == [(50, 52)]
        assert (body["window"], body["total"], body["total_unfiltered"]) == ("newest", 1, 10)
        status, body = await got(client, "by_size/windows/newest")
        assert (status, body["total"], len(body["rows"])) == (200, SALES, 15)
        assert body["rows"][0] == {"size": 0, "sales": 1, "sum": 0}

        group.owners[1].alive = False
        for window in ("50", "newest"):
            status, body = await got(client, f"by_shop/windows/{window}")
            assert (status, body["whole"]) == (503, False)
            assert [part["partition"] for part in body["missing"]] == [2, 3]
            lost = sum(n % 20 % PARTITIONS in (2, 3) for n in range(50, 60))
            assert len(body["rows"]) == body["total"] == 10 - lost


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("nothing/keys/1", 404, "There is no table 'nothing'."),
        ("by_size/keys/x", 400, "key 'x' is no JSON; a key is size (Int64), as JSON"),
        ("by_size/keys/%22x%22", 400, "table 'by_size': size is Int64, not 'x'"),
        ("by_pair/keys/1", 400, "a key is [region (String), gift (Boolean)], a JSON list"),
        ("by_shop/windows/all", 400, "one window is given at a time"),
        ("by_shop/windows/1?window=2", 400, "unknown parameter 'window'"),
        ("by_shop/windows/1?limit=99", 400, "limit='99' is not a whole number from 1 to 15"),
        ("by_shop/windows/1?limit=1&limit=2", 400, "given more than once"),
    ],
)
async def test_what_cannot_be_asked(path: str, status: int, error: str) -> None:
    async with served(*three()) as (client, _):
        found, body = await got(client, path)
        assert found == status
        assert error in body["error"]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (pl.String(), '"quoted" / 1', '"quoted" / 1'),
        (pl.String(), "", ""),
        (pl.Float64(), "17", 17.0),
        (pl.Boolean(), "true", True),
        (pl.Int64(), "null", None),
        (pl.Datetime("us", "UTC"), "86400000", datetime(1970, 1, 2, tzinfo=UTC)),
        (pl.Date(), "86400000", date(1970, 1, 2)),
    ],
)
def test_keys_in_addresses(kind: pl.DataType, text: str, value: Any) -> None:
    found = key(describe("t", {"k": kind}, {"n": pl.Int64()}), text)
    assert (found, type(found)) == (value, type(value))


def test_a_key_of_the_wrong_form() -> None:
    info = describe("t", {"a": pl.String(), "b": pl.Int64()}, {"n": pl.Int64()})
    assert key(info, '["x", 2]') == ("x", 2)
    for text in ("x", '"x"', "[1]", "[1, 2, 3]", "{}"):
        with pytest.raises(
            QueryError, match=r"a key is \[a \(String\), b \(Int64\)\], a JSON list"
        ):
            key(info, text)

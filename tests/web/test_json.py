"""The JSON routes."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from yarl import URL

from app.engine.reading.restore_progress import Restoring
from tests.web.fake_reader import MINUTE_MS, FakeReader, FakeTable, describe, frame
from tests.web.serving import served
from tests.web.shop import shop

ODD = describe(
    "odd",
    {"id": pl.Int64()},
    {
        "huge": pl.Int64(),
        "mean": pl.Float64(),
        "seen": pl.Datetime("us", "UTC"),
        "tags": pl.List(pl.Int64()),
    },
)


async def test_the_list_describes_every_table() -> None:
    async with served(shop(5 * MINUTE_MS, customer_count=7)) as client:
        tables = (await (await client.get("/api/tables")).json())["tables"]
    assert [table["name"] for table in tables] == [
        "orders_per_customer",
        "payment_failures_per_minute",
        "revenue_per_minute",
    ]
    assert tables[0] == {
        "name": "orders_per_customer",
        "description": "Orders and their sum, per customer and minute.",
        "source": "order.placed",
        "keys": ["customer_id"],
        "columns": {
            "customer_id": "String",
            "orders": "Int64",
            "amount": "Float64",
            "last_order": "Datetime(time_unit='ms', time_zone='UTC')",
        },
        "window": "tumbling 1m, grace 10s",
        "window_size_ms": MINUTE_MS,
        "version": 0,
        "newest_window": 5 * MINUTE_MS,
        "newest_window_rows": 7,
        "newest_window_rows_exact": True,
        "restoring": None,
    }


async def test_rows_under_a_query() -> None:
    async with served(shop(5 * MINUTE_MS)) as client:
        answer = await client.get(
            "/api/tables/revenue_per_minute/rows",
            params={"filter": "e", "sort": "orders", "order": "desc", "offset": "1", "limit": "2"},
        )
        data = await answer.json()
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert data["total"] == 6  # BE, DE, EE, ES, IE, SE
    assert data["total_unfiltered"] == 34
    assert [row["window_start"] for row in data["rows"]] == [5 * MINUTE_MS] * 2
    assert all("E" in row["country"] for row in data["rows"])
    assert data["rows"][0]["orders"] >= data["rows"][1]["orders"]


async def test_a_table_that_is_being_restored_says_how_far() -> None:
    reader = FakeReader(FakeTable(ODD))
    reader["odd"].restoring = Restoring("odd", (1, 2), 250, 1000, 5_000, 100.4, 7.512)
    async with served(reader) as client:
        (table,) = (await (await client.get("/api/tables")).json())["tables"]
        rows = await (await client.get("/api/tables/odd/rows")).json()
    assert (
        table["restoring"]
        == rows["restoring"]
        == {
            "percent": 25,
            "partitions": [1, 2],
            "offsets_done": 250,
            "offsets_total": 1000,
            "bytes_read": 5_000,
            "bytes_per_second": 100,
            "seconds_left": 7.5,
        }
    )


async def test_values_that_json_cannot_hold() -> None:
    rows = frame(
        ODD,
        0,
        {
            "id": [1, 2],
            "huge": [2**53, -(2**53) + 1],
            "mean": [float("nan"), float("inf")],
            "seen": [1_500, None],
            "tags": [[2**60, 1], []],
        },
    )
    async with served(FakeReader(FakeTable(ODD, [rows]))) as client:
        data = await (await client.get("/api/tables/odd/rows")).json()
    bounds = {"window_start": 0, "window_end": MINUTE_MS}
    assert data["rows"] == [
        {**bounds, "id": 1, "huge": str(2**53), "mean": None, "seen": 1, "tags": [str(2**60), 1]},
        {**bounds, "id": 2, "huge": 1 - 2**53, "mean": None, "seen": None, "tags": []},
    ]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/tables/nope/rows", 404, "There is no table 'nope'."),
        ("/api/tables/nope/events", 404, "There is no table 'nope'."),
        ("/api/nothing", 404, "There is nothing at this address."),
        ("/api/tables/revenue_per_minute/rows?limit=1001", 400, "limit='1001' is not"),
        ("/api/tables/revenue_per_minute/events?sort=x", 400, "sort='x' is not one of"),
        ("/api/tables/revenue_per_minute/rows?sort=mean&sort=mean", 400, "'sort' is given more"),
    ],
)
async def test_errors_are_json(path: str, status: int, message: str) -> None:
    async with served(shop(0)) as client:
        answer = await client.get(path)
        assert answer.status == status
        assert message in (await answer.json())["error"]


@pytest.mark.parametrize(
    "query",
    [
        f"offset={2**63 - 1}&limit=1000",
        f"window={-(2**62)}",
        "filter=%ED%A0%80",
        "filter=%00%FF",
        "filter=" + "(*" * 100,
        "filter=" + "%C4%B0" * 200,
    ],
)
async def test_extreme_queries_find_nothing(query: str) -> None:
    async with served(shop(0)) as client:
        for path in ("/api/tables/revenue_per_minute/rows", "/tables/revenue_per_minute"):
            answer = await client.get(URL(f"{path}?{query}", encoded=True))
            assert answer.status == 200
        data = await (
            await client.get(URL(f"/api/tables/revenue_per_minute/rows?{query}", encoded=True))
        ).json()
        assert data["rows"] == []


async def test_metrics_health_and_readiness() -> None:
    async with served(shop(0)) as client:
        metrics = await client.get("/metrics")
        assert metrics.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert await metrics.text() == "events_total 1\n"
        health, ready = await client.get("/health"), await client.get("/ready")
        assert (health.status, await health.json()) == (200, {"status": "ok"})
        assert (ready.status, await ready.json()) == (503, {"status": "restoring", "partitions": 3})


LIFETIME = replace(
    describe("lifetime", {"customer": pl.String()}, {"orders": pl.Int64()}),
    window="no windows",
    window_size_ms=None,
)


async def test_a_table_without_windows_shows_none() -> None:
    table = FakeTable(LIFETIME)
    table.windows[0] = pl.DataFrame({"customer": ["b", "a"], "orders": [2, 1]})
    async with served(FakeReader(table)) as client:
        data = await (await client.get("/api/tables/lifetime/rows")).json()
        page = await (await client.get("/tables/lifetime")).text()
        tables = await (await client.get("/")).text()
    assert data["rows"] == [{"customer": "a", "orders": 1}, {"customer": "b", "orders": 2}]
    assert "One row per key" in page
    assert 'name="window"' not in page
    assert "no windows" in tables

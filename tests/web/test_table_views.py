"""Filter, order and pages against plain Python, and how much work they are."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.recent import Recent
from app.web.rows_query import RowsQuery, parse
from app.web.table_views import FirstRows, Page, TableViews
from tests.web.fake_reader import MINUTE_MS, FakeReader, FakeTable, describe, frame
from tests.web.shop import shop

INFO = describe(
    "sales",
    {"country": pl.String(), "shop": pl.Int64()},
    {"orders": pl.Int64(), "mean": pl.Float64()},
)
TEXT = st.text("aäBb.*(\\ß<", max_size=3)
ROW = st.fixed_dictionaries(
    {
        "country": st.none() | TEXT,
        "shop": st.integers(0, 30),
        "orders": st.none() | st.integers(-3, 3),
        "mean": st.none() | st.sampled_from([0.5, -1.0, 2.0, float("inf")]),
    }
)
WINDOWS = st.dictionaries(
    st.integers(0, 3).map(lambda minute: minute * MINUTE_MS),
    st.lists(ROW, max_size=12, unique_by=lambda row: (row["country"], row["shop"])),
    max_size=4,
)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "window": st.sampled_from(["newest", "all", "0", "60000", "999"]),
        "filter": TEXT | st.sampled_from(["1", "2"]),
        "filter.country": TEXT,
        "filter.shop": st.sampled_from(["0", "1", "11"]),
        "sort": st.sampled_from(["window_start", "country", "shop", "orders", "mean"]),
        "order": st.sampled_from(["asc", "desc"]),
        "offset": st.integers(0, 9).map(str),
        "limit": st.integers(1, 9).map(str),
    },
)


def oracle(windows: dict[int, list[dict[str, Any]]], query: RowsQuery) -> list[dict[str, Any]]:
    """All matching rows in order."""
    chosen = set(windows) if query.window == "all" else {query.window}
    if query.window == "newest":
        chosen = {max(windows)} if windows else set()
    rows = [
        {"window_start": start, "window_end": start + MINUTE_MS, **row}
        for start in chosen & set(windows)
        for row in windows[start]
    ]

    def matches(row: dict[str, Any]) -> bool:
        return all(
            any(
                row[key] is not None and re.search(re.escape(text), str(row[key]), re.IGNORECASE)
                for key in ([column] if column else INFO.keys)
            )
            for column, text in query.filters
        )

    def by(column: str, descending: bool, left: dict[str, Any], right: dict[str, Any]) -> int:
        a, b = left[column], right[column]
        if a is None or b is None:
            return (a is None) - (b is None)
        if isinstance(a, str):
            a, b = a.encode(), b.encode()
        return ((a > b) - (a < b)) * (-1 if descending else 1)

    order = [(query.sort, query.descending), ("window_start", True), ("country", False)]

    def compare(left: dict[str, Any], right: dict[str, Any]) -> int:
        columns = [*order, ("shop", False)]
        return next(filter(None, (by(*column, left, right) for column in columns)), 0)

    return sorted(filter(matches, rows), key=functools.cmp_to_key(compare))


def same(page: Page) -> Page:
    return page


def ask(reader: FakeReader, parameters: dict[str, str], rows_max: int = 10_000) -> Page:
    views = TableViews(reader, rows_max)
    info = reader.tables()[0]
    try:
        return asyncio.run(views.page(info, parse(parameters, info, rows_max=1000), same))
    finally:
        views.close()


@given(WINDOWS, PARAMETERS)
def test_pages_are_those_of_plain_python(
    windows: dict[int, list[dict[str, Any]]], parameters: dict[str, str]
) -> None:
    names = (*INFO.keys, *INFO.columns)
    frames = [
        frame(INFO, start, {name: [row[name] for row in rows] for name in names})
        for start, rows in windows.items()
        if rows
    ]
    windows = {start: rows for start, rows in windows.items() if rows}
    page = ask(FakeReader(FakeTable(INFO, frames)), parameters)
    query = parse(parameters, INFO, rows_max=1000)
    expected = oracle(windows, query)
    assert page.total == len(expected)
    assert page.frame.to_dicts() == expected[query.offset : query.offset + query.limit]


def test_a_page_of_many_keys_is_quick_and_shared() -> None:
    reader = shop(0, customer_count=100_000)
    table = reader["orders_per_customer"]
    table.reads = 0
    queries = [
        parse({"filter": "c-00", "sort": "amount", "offset": str(page)}, table.info, rows_max=50)
        for page in range(0, 1000, 50)
    ]

    async def many_viewers() -> float:
        views = TableViews(reader, 1_000_000)
        started = time.perf_counter()
        pages = await asyncio.gather(*(views.page(table.info, query, same) for query in queries))
        views.close()
        assert all(page.frame.height == 50 and page.total == 10_000 for page in pages)
        return time.perf_counter() - started

    assert asyncio.run(many_viewers()) < 3
    assert table.reads == 1


def test_a_new_version_is_read_anew() -> None:
    reader = shop(0, customer_count=10)
    info = reader["orders_per_customer"].info
    query = parse({}, info, rows_max=50)

    async def versions() -> None:
        views = TableViews(reader, 1_000_000)
        before = await views.page(info, query, same)
        await reader.put(info.name, before.frame.with_columns(orders=pl.lit(99)))
        after = await views.page(info, query, same)
        views.close()
        assert after.version == before.version + 1
        assert after.frame["orders"].to_list() == [99] * 10

    asyncio.run(versions())


def test_all_windows_stop_at_the_limit_of_rows() -> None:
    reader = FakeReader(shop(0)["revenue_per_minute"])
    page = ask(reader, {"window": "all", "limit": "100"}, rows_max=80)
    assert (page.total, page.left_out, len(page.windows)) == (68, 4, 6)
    assert not page.truncated


@pytest.mark.parametrize("window", ["newest", "all"])
def test_of_a_large_window_a_part_is_shown_and_each_key_is_found(window: str) -> None:
    table = shop(0, customer_count=50)["orders_per_customer"]
    newest = table.windows[max(table.windows)]
    for key in newest["customer_id"]:
        asked = {"window": window, "limit": "50"}
        page = ask(FakeReader(table), asked, rows_max=20)
        assert (page.total, page.total_unfiltered, page.truncated) == (20, 20, True)
        for name in ("filter", "filter.customer_id"):
            page = ask(FakeReader(table), {**asked, name: key}, rows_max=20)
            shown = page.frame.filter(pl.col("window_start") == max(table.windows))
            assert shown["customer_id"].to_list() == [key]
    assert ask(FakeReader(table), {**asked, "filter": "nobody"}, rows_max=20).total == 0


def test_the_rows_of_a_large_window_are_not_read_to_count_them() -> None:
    table = shop(0, customer_count=50)["orders_per_customer"]
    views = TableViews(FakeReader(table), 99)
    counted = asyncio.run(views.count(table.info))
    assert (counted.rows, counted.exact, table.reads) == (100, False, 0)
    counted = asyncio.run(TableViews(FakeReader(table), 100).count(table.info))
    assert (counted.rows, counted.exact, table.reads) == (50, True, 1)


@given(
    cuts=st.lists(st.integers(0, 34), max_size=4),
    sort=st.sampled_from(["country", "orders", "revenue"]),
    order=st.sampled_from(["asc", "desc"]),
    offset=st.integers(0, 40),
    text=st.sampled_from(["", "e", "no such"]),
)
def test_the_first_rows_of_parts_are_those_of_the_whole(
    cuts: list[int], sort: str, order: str, offset: int, text: str
) -> None:
    table = shop(0, minutes=1)["revenue_per_minute"]
    asked = {"sort": sort, "order": order, "offset": str(offset), "limit": "7", "filter": text}
    rows = FirstRows(table.info, parse(asked, table.info, rows_max=100))
    (whole,) = table.windows.values()
    bounds = [0, *sorted(cuts), len(whole)]
    for start, end in pairwise(bounds):
        rows.add(whole[start:end])
    got, expected = rows.page(), ask(FakeReader(table), asked)
    assert got.frame.equals(expected.frame)
    assert (got.total, got.total_unfiltered) == (expected.total, expected.total_unfiltered)


def test_the_cache_keeps_to_its_size() -> None:
    cache: Recent[list[int]] = Recent(10)
    made = []

    def make(size: int) -> list[int]:
        made.append(size)
        return [0] * size

    for size in (4, 3, 4, 2, 4, 99, 1):
        cache.get(size, 1, lambda size=size: make(size))
    assert made == [4, 3, 2, 99, 1]
    cache.get(1, 2, lambda: make(1))
    assert made[-2:] == [1, 1]

"""The HTML pages as the server writes them."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import polars as pl
import pytest

from tests.web.fake_reader import FakeReader, FakeTable, describe, frame
from tests.web.serving import served
from tests.web.shop import shop

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</tbody></table><h1>gone</h1>",
    "&lt;b&gt;",
    "\u202ereversed",
    "javascript:alert(1)",
]


class Outline(HTMLParser):
    """Which elements a page has, and the texts of its cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


async def get(reader: FakeReader, path: str) -> tuple[int, Outline]:
    async with served(reader) as client:
        answer = await client.get(path)
        assert answer.content_type == "text/html"
        return answer.status, Outline(await answer.text())


async def test_the_list_links_to_every_table() -> None:
    status, page = await get(shop(0, customer_count=3), "/")
    assert status == 200
    assert {"href": "/tables/revenue_per_minute"} in page.all("a")
    row = page.cells[page.cells.index("country") - 2 :]
    assert row[0].startswith("revenue_per_minuteWhat the shop takes")
    assert row[1:6] == [
        "order.placed",
        "country",
        "tumbling 1m, grace 10s",
        "1970-01-01 00:00:00 – 00:01:00",
        "34",
    ]


async def test_a_list_without_tables() -> None:
    async with served(FakeReader()) as client:
        assert "There are no tables yet" in await (await client.get("/")).text()


async def test_rows_work_without_javascript() -> None:
    path = "/tables/revenue_per_minute?sort=country&order=desc&offset=10&limit=10"
    status, page = await get(shop(0), path)
    assert status == 200
    assert [cell for cell in page.cells if re.fullmatch("[A-Z]{2}", cell)] == [
        *("MX", "LV", "LU", "LT", "KR", "JP", "IT", "IE", "HU", "GR")
    ]
    links = {link.get("id"): link.get("href") for link in page.all("a")}
    base = "/tables/revenue_per_minute?sort=country&order=desc"
    assert links["earlier"] == f"{base}&limit=10"
    assert links["later"] == f"{base}&offset=20&limit=10"
    assert links["sort-country"] == "/tables/revenue_per_minute?limit=10"
    assert links["sort-orders"] == "/tables/revenue_per_minute?sort=orders&order=desc&limit=10"
    assert page.all("th")[0]["aria-sort"] == "descending"
    hidden = {
        field["name"]: field["value"] for field in page.all("input") if field["type"] == "hidden"
    }
    assert hidden == {"sort": "country", "order": "desc"}


async def test_a_table_with_several_keys_has_a_filter_for_each() -> None:
    _, page = await get(shop(0), "/tables/payment_failures_per_minute?filter.method=card")
    boxes = {box["name"]: box["value"] for box in page.all("input")}
    assert boxes == {"filter": "", "filter.method": "card", "filter.country": ""}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "Rows 1 to 34 of 34"),
        ("?filter=at", "Rows 1 to 1 of 1 that match, out of 34"),
        ("?filter=zz", "No row matches the filter"),
        ("?offset=500", "No rows from 501 on: there are 34"),
        ("?window=60000", "1970-01-01 00:01:00 – 00:02:00 · not kept any more"),
        ("?window=all", "6 kept windows"),
    ],
)
async def test_the_page_says_what_it_shows(query: str, text: str) -> None:
    async with served(shop(0)) as client:
        assert text in await (await client.get(f"/tables/revenue_per_minute{query}")).text()


@pytest.mark.parametrize("path", ["/tables/nope", "/tables/%3Cscript%3E", "/nothing"])
async def test_an_unknown_address_shows_the_tables(path: str) -> None:
    status, page = await get(shop(0), path)
    assert status == 404
    assert {"href": "/tables/orders_per_customer"} in page.all("a")
    assert len(page.all("script")) == 1


async def test_a_wrong_parameter_says_what_is_allowed() -> None:
    async with served(shop(0)) as client:
        answer = await client.get("/tables/revenue_per_minute?order=<script>alert(1)</script>")
        text = await answer.text()
    assert answer.status == 400
    assert "is neither asc nor desc" in text
    assert "<script>alert" not in text


async def test_nothing_in_a_table_becomes_markup() -> None:
    info = describe(
        "<i>odd</i> & co",
        {"<b>key": pl.String()},
        {"n": pl.Int64(), "<u>text": pl.String()},
        description=NASTY[0],
        source=NASTY[1],
    )
    rows = frame(info, 0, {"<b>key": NASTY, "n": range(len(NASTY)), "<u>text": NASTY})
    reader = FakeReader(FakeTable(info, [rows]))
    for path in ("/", "/tables/%3Ci%3Eodd%3C%2Fi%3E%20&%20co", "/tables/nope"):
        _, page = await get(reader, path)
        assert [script["src"] for script in page.all("script")] == ["/static/headrace.js"]
        assert [image["src"] for image in page.all("img")] == ["/static/headrace.svg"]
        assert len(page.all("h1")) == 1
        assert not page.all("b") + page.all("u") + page.all("i") + page.all("style")
        assert not [
            key for _, attributes in page.elements for key in attributes if key.startswith("on")
        ]
        assert not [key for _, attributes in page.elements for key in attributes if key == "style"]
    _, page = await get(reader, "/tables/%3Ci%3Eodd%3C%2Fi%3E%20&%20co")
    assert set(NASTY) <= set(page.cells)
    filters = {box["name"] for box in page.all("input")}
    assert filters == {"filter"}

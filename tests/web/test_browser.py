"""The pages in Chromium: live, filtered, sorted, and without a complaint."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from tests.web.chromium import BrowserPage, browse
from tests.web.fake_reader import MINUTE_MS, FakeReader
from tests.web.shop import application, customers, failures, revenue, shop
from tests.web.test_pages import NASTY

pytestmark = pytest.mark.browser

NAME = "revenue_per_minute"
FIRST_COLUMN = "[...document.querySelectorAll('tbody th')].map(cell => cell.textContent)"
IS_LIVE = "document.getElementById('connection').dataset.state === 'live'"


@contextlib.asynccontextmanager
async def opened(
    chromium: str, reader: FakeReader, path: str
) -> AsyncIterator[tuple[BrowserPage, str]]:
    """A browser on a page that is live; at the end nothing may have been complained of."""
    async with TestServer(application(reader)) as server, browse(chromium) as page:
        base = str(server.make_url("")).rstrip("/")
        await page.open(base + path)
        await page.until(IS_LIVE)
        yield page, base
        assert page.complaints == []


def cell(country: str, column: int) -> str:
    """A script for the text of one cell."""
    rows = "[...document.querySelectorAll('tbody tr')]"
    return f"{rows}.find(r => r.cells[0].textContent === {country!r}).cells[{column}].textContent"


async def test_rows_change_live(chromium: str) -> None:
    reader = shop(0)
    async with opened(chromium, reader, f"/tables/{NAME}") as (page, _):
        for seed in (1, 2, 3):
            rows = revenue(0, seed=seed)
            await reader.put(NAME, rows)
            orders = rows.filter(rows["country"] == "DE")["orders"][0]
            await page.until(f"{cell('DE', 1)} === '{orders:,}'")
        await page.value("document.querySelector('tbody tr').dataset.mark = 'kept'")
        await reader.put(NAME, revenue(0, seed=9))
        await reader.put(NAME, revenue(MINUTE_MS))
        await page.until("document.querySelector('caption').textContent.includes('00:01:00 –')")
        assert await page.value("document.querySelectorAll('tbody tr').length") == 34
        assert await page.value("document.getElementById('window').options[2].value") == "60000"


async def test_a_row_keeps_its_element_while_it_changes(chromium: str) -> None:
    reader = shop(0)
    async with opened(chromium, reader, f"/tables/{NAME}?sort=orders&order=desc") as (page, _):
        await page.value("window.row = document.querySelector('tbody tr')")
        rows = revenue(0)
        await reader.put(NAME, rows.with_columns(orders=-rows["orders"]))
        await page.until("document.querySelector('tbody').lastElementChild === window.row")
        assert await page.value("document.getAnimations().length") > 0


async def test_the_filter_follows_the_typing(chromium: str) -> None:
    async with opened(chromium, shop(0), f"/tables/{NAME}") as (page, _):
        await page.press("/")
        await page.type("s")
        await page.until(f"{FIRST_COLUMN}.join() === 'ES,SE,SI,SK,US'")
        await page.type("e")
        await page.until(f"{FIRST_COLUMN}.join() === 'SE'")
        assert await page.value("location.search") == "?filter=se"
        assert await page.value("document.activeElement.name") == "filter"
        status = "document.querySelector('[data-text=status]').textContent"
        assert await page.value(status) == "Rows 1 to 1 of 1 that match, out of 34"


async def test_sorting_and_the_way_back(chromium: str) -> None:
    async with opened(chromium, shop(0), f"/tables/{NAME}?filter=s") as (page, _):
        rows = revenue(0).filter(revenue(0)["country"].str.contains("S"))
        down = ",".join(rows.sort("orders", descending=True)["country"])
        await page.click("#sort-orders")
        await page.until(f"{FIRST_COLUMN}.join() === {down!r}")
        assert await page.value("location.search") == "?filter=s&sort=orders&order=desc"
        heads = "[...document.querySelectorAll('thead th')].map(head => head.ariaSort)"
        assert await page.value(heads) == [None, "descending", None, None, None]
        assert await page.value("document.activeElement.id") == "sort-orders"
        await page.click("#sort-orders")
        await page.until(f"{FIRST_COLUMN}.reverse().join() === {down!r}")
        await page.value("history.go(-2)")
        await page.until(f"{FIRST_COLUMN}.join() === 'ES,SE,SI,SK,US'")
        await page.until(IS_LIVE)


async def test_windows_and_pages(chromium: str) -> None:
    async with opened(chromium, shop(0), f"/tables/{NAME}") as (page, _):
        await page.value(
            "(() => { const w = document.getElementById('window'); w.value = 'all';"
            " w.dispatchEvent(new Event('change', {bubbles: true})) })()"
        )
        await page.until("document.querySelectorAll('tbody tr').length === 50")
        await page.click("#later")
        await page.until("location.search === '?window=all&offset=50'")
        status = "document.querySelector('[data-text=status]').textContent"
        await page.until(f"{status} === 'Rows 51 to 100 of 204'")
        await page.click("#earlier")
        await page.until(f"{status} === 'Rows 1 to 50 of 204'")
        assert await page.value("document.getElementById('earlier').hasAttribute('href')") is False


async def test_a_hundred_thousand_keys(chromium: str) -> None:
    reader = shop(0, customer_count=100_000)
    path = "/tables/orders_per_customer?sort=amount&order=desc"
    async with opened(chromium, reader, path) as (page, _):
        await reader.put("orders_per_customer", customers(0, seed=5))
        best = customers(0, seed=5).sort("amount", descending=True)["customer_id"][0]
        await page.until(f"{FIRST_COLUMN}[0] === {best!r}")
        assert await page.value("document.querySelectorAll('tbody tr').length") == 50


async def test_the_list_is_live(chromium: str) -> None:
    reader = shop(0)
    async with opened(chromium, reader, "/") as (page, _):
        await reader.put("orders_per_customer", customers(0, 1234))
        count = "document.querySelector('[data-id=orders_per_customer]').lastElementChild"
        await page.until(f"{count}.textContent === '1,234'")


async def test_the_page_says_when_it_is_not_live_and_comes_back(chromium: str) -> None:
    reader = shop(0)
    server = TestServer(application(reader))
    await server.start_server()
    port = server.port
    async with browse(chromium) as page:
        await page.open(str(server.make_url(f"/tables/{NAME}")))
        await page.until(IS_LIVE)
        await server.close()
        await page.until("document.getElementById('connection').dataset.state === 'reconnecting'")
        async with TestServer(application(reader), port=port):
            await page.until(IS_LIVE)


async def test_keys_stay_text(chromium: str) -> None:
    reader = shop(0)
    async with opened(chromium, reader, f"/tables/{NAME}?limit=500") as (page, _):
        rows = revenue(0).head(len(NASTY))
        await reader.put(
            NAME, rows.with_columns(country=rows["country"].replace(rows["country"], NASTY))
        )
        await page.until(f"document.querySelectorAll('tbody tr').length === {len(NASTY)}")
        assert sorted(await page.value(FIRST_COLUMN)) == sorted(NASTY)
        assert await page.value("document.querySelectorAll('tbody img, tbody script').length") == 0


async def test_the_look(chromium: str, tmp_path: Path) -> None:
    """Screenshots in light and dark, wide and narrow; kept where HEADRACE_SCREENSHOTS says."""
    folder = Path(os.environ.get("HEADRACE_SCREENSHOTS", tmp_path))
    reader = shop(1_789_000_000_000)
    path = f"/tables/{NAME}?sort=revenue&order=desc&limit=25"
    async with opened(chromium, reader, path) as (page, base):
        grounds = set()
        for scheme in ("light", "dark"):
            for width in (1400, 390):
                await page.look(width=width, height=800, scheme=scheme)
                for name, address in {"list": "/", "rows": path}.items():
                    await page.open(base + address)
                    await page.until(IS_LIVE)
                    await asyncio.sleep(0.2)
                    await page.screenshot(folder / f"{name}-{scheme}-{width}.png")
                    overflow = "document.documentElement.scrollWidth - innerWidth"
                    assert await page.value(overflow) <= 0
            grounds.add(await page.value("getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2


async def test_several_keys(chromium: str) -> None:
    reader = shop(0)
    path = "/tables/payment_failures_per_minute?filter.method=card&filter.country=d"
    async with opened(chromium, reader, path) as (page, _):
        await reader.put("payment_failures_per_minute", failures(0, seed=3))
        second = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[1].textContent)"
        assert await page.value(f"{second}.join()") == "DE,DK"

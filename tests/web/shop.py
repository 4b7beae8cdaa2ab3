"""Shop-like tables for tests, pictures and work on the pages (`python -m tests.web.shop`)."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
from aiohttp import web

from app.engine.language.reads import TableReads
from app.engine.language.table import TableNotRunningError
from app.engine.reading.local_answers import LocalAnswers
from app.web import mount
from app.web.limits import WebLimits
from tests.web.fake_reader import MINUTE_MS, FakeReader, FakeTable, describe, frame

REVENUE = describe(
    "revenue_per_minute",
    {"country": pl.String()},
    {"orders": pl.Int64(), "revenue": pl.Float64(), "mean": pl.Float64(), "largest": pl.Float64()},
    description="What the shop takes, per country and minute.",
)
FAILURES = describe(
    "payment_failures_per_minute",
    {"method": pl.String(), "country": pl.String()},
    {"payments": pl.Int64(), "failed": pl.Int64(), "rate": pl.Float64()},
    description="How many payments fail, per method, country and minute.",
    source="payment.failed",
)
CUSTOMERS = describe(
    "orders_per_customer",
    {"customer_id": pl.String()},
    {"orders": pl.Int64(), "amount": pl.Float64(), "last_order": pl.Datetime("ms", "UTC")},
    description="Orders and their sum, per customer and minute.",
)

COUNTRIES = (
    *("AT", "AU", "BE", "BR", "CA", "CH", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GR"),
    *("HU", "IE", "IT", "JP", "KR", "LT", "LU", "LV", "MX", "NL", "NO", "NZ", "PL", "PT", "RO"),
    *("SE", "SI", "SK", "US"),
)
LIMITS = WebLimits(page_rows=1000)
METHODS = ["card", "direct debit", "invoice", "wallet"]


def revenue(start_ms: int, share: float = 1.0, seed: int = 0) -> pl.DataFrame:
    """One minute of revenue, `share` of it gone by."""
    chance = random.Random(start_ms + seed)
    orders = [int(chance.lognormvariate(5, 1.1) * share) + 1 for _ in COUNTRIES]
    means = [chance.uniform(35, 95) for _ in COUNTRIES]
    return frame(
        REVENUE,
        start_ms,
        {
            "country": list(COUNTRIES),
            "orders": orders,
            "revenue": [round(n * mean, 2) for n, mean in zip(orders, means, strict=True)],
            "mean": means,
            "largest": [round(mean * chance.uniform(4, 12), 2) for mean in means],
        },
    )


def failures(start_ms: int, share: float = 1.0, seed: int = 0) -> pl.DataFrame:
    """One minute of payments."""
    chance = random.Random(start_ms + seed)
    pairs = [(method, country) for method in METHODS for country in COUNTRIES]
    payments = [int(chance.lognormvariate(4, 1) * share) + 1 for _ in pairs]
    failed = [int(n * chance.uniform(0, 0.08)) for n in payments]
    return frame(
        FAILURES,
        start_ms,
        {
            "method": [method for method, _ in pairs],
            "country": [country for _, country in pairs],
            "payments": payments,
            "failed": failed,
            "rate": [bad / n for bad, n in zip(failed, payments, strict=True)],
        },
    )


def customers(start_ms: int, count: int = 100_000, seed: int = 0) -> pl.DataFrame:
    """One minute of many customers."""
    chance = np.random.default_rng(start_ms % 2**32 + seed)
    orders = chance.integers(1, 9, count)
    rows = pl.DataFrame(
        {
            "window_start": np.full(count, start_ms),
            "window_end": np.full(count, start_ms + MINUTE_MS),
            "customer_id": [f"c-{number:06}" for number in range(count)],
            "orders": orders,
            "amount": (orders * chance.uniform(5, 120, count)).round(2),
            "last_order": start_ms + chance.integers(0, MINUTE_MS, count),
        }
    )
    rows = rows.with_columns(pl.col("last_order").cast(pl.Datetime("ms", "UTC")))
    return rows.sample(fraction=1.0, shuffle=True, seed=1)


def shop(now_ms: int, minutes: int = 6, customer_count: int = 50) -> FakeReader:
    """A shop that has been open for some minutes."""
    starts = [now_ms // MINUTE_MS * MINUTE_MS - MINUTE_MS * minute for minute in range(minutes)]
    return FakeReader(
        FakeTable(REVENUE, map(revenue, starts)),
        FakeTable(FAILURES, map(failures, starts)),
        FakeTable(CUSTOMERS, [customers(start, customer_count) for start in starts[:2]]),
    )


async def trade(reader: FakeReader, interval_s: float = 0.1) -> None:
    """Let the shop run: the newest minute fills up."""
    step = 0
    while True:
        await asyncio.sleep(interval_s)
        now_ms = int(time.time() * 1000)
        start, share = now_ms // MINUTE_MS * MINUTE_MS, now_ms % MINUTE_MS / MINUTE_MS
        step += 1
        await reader.put("revenue_per_minute", revenue(start, share))
        await reader.put("payment_failures_per_minute", failures(start, share))
        if step % 5 == 0:
            rows = await asyncio.to_thread(customers, start, seed=step)
            await reader.put("orders_per_customer", rows)


def nobodys(table: str) -> TableReads:
    """No reads: the pages do without."""
    raise TableNotRunningError(f"nothing reads {table}")


def application(reader: FakeReader, limits: WebLimits = LIMITS) -> web.Application:
    """The pages over a reader."""
    app = web.Application()
    mount(
        app,
        reader,
        local=LocalAnswers(reader, ThreadPoolExecutor(1)),
        reads=nobodys,
        metrics=lambda: b"events_total 1\n",
        health=lambda: (True, {"status": "ok"}),
        ready=lambda: (False, {"status": "restoring", "partitions": 3}),
        limits=limits,
    )
    return app


async def serve(port: int) -> None:
    """Serve a busy shop until interrupted."""
    reader = shop(int(time.time() * 1000), customer_count=100_000)
    runner = web.AppRunner(application(reader))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        await trade(reader)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=6066)
    asyncio.run(serve(arguments.parse_args().port))

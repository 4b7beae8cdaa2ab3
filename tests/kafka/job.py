"""A small application for the tests that need real workers: `faust -A tests.kafka.job worker`.

Sales come keyed by user; one table keeps that key, one is repartitioned by country, and an agent passes
every sale on, and feeds a table of the large ones if that is chosen. Amounts are whole numbers, so that sums
can be compared exactly.
"""

from __future__ import annotations

import os

import msgspec
import polars as pl

from app.engine.aggregates import count, maximum, minimum, total
from app.engine.language.table import Table
from app.engine.windows import tumbling
from app.events.event import Event
from app.settings import load_settings
from app.start import prepare_process
from tests.kafka.sales import LARGE, NO_COUNTRY, POISON

settings = load_settings()
prepare_process(settings)

import app.cli.rebuild  # noqa: E402 - registers the command; after the process is prepared
import app.cli.replay  # noqa: E402
from app.kafka.processing import checkpoints  # noqa: E402
from app.worker import Headrace  # noqa: E402

# two threads prepare checkpoints, which are all small here
checkpoints._HELP_BYTES_MIN = -1

PREFIX = settings.app_id
MENDED = "TEST_MENDED" in os.environ
"""A later version of the application: it has a default for the country, and its agent fails on nothing."""


class Sale(Event, type="test.sale", topic=f"{PREFIX}-sales", key="user", plain=True, time="at"):
    """A sale of a user; `sequence` is unique."""

    user: str
    sequence: int
    amount: int
    country: str = msgspec.field(default=NO_COUNTRY if MENDED else msgspec.NODEFAULT)
    at: int


class SalePassed(Event, type="test.sale_passed", topic=f"{PREFIX}-passed", key="user"):
    """The same sale, passed on by an agent."""

    user: str
    sequence: int
    amount: int


class UserTotal(Event, type="test.user_total", topic=f"{PREFIX}-user-totals", key="user"):
    """What a user bought in a window."""

    user: str
    window_start: int
    sales: int
    amount: int
    largest: int


class CountryTotal(
    Event, type="test.country_total", topic=f"{PREFIX}-country-totals", key="country"
):
    """What a country bought in a window."""

    country: str
    window_start: int
    sales: int
    amount: int


class LargeSale(
    Event, type="test.large_sale", topic=f"{PREFIX}-large-sales", key="country", plain=True
):
    """What the agent makes of a sale of at least LARGE; it is sent nowhere."""

    country: str
    amount: int


class LargeTotal(Event, type="test.large_total", topic=f"{PREFIX}-large-totals", key="country"):
    """What a country bought at large in a window."""

    country: str
    window_start: int
    sales: int
    amount: int


WINDOW = tumbling(os.environ.get("TEST_WINDOW", "5s"), grace="1s")
user_totals = Table(
    "user_totals",
    source=Sale,
    by="user",
    window=WINDOW,
    columns={"sales": count(), "amount": total("amount"), "largest": maximum("amount")},
    emit=UserTotal,
)
country_totals = Table(
    "country_totals",
    source=Sale,
    by="country",
    window=WINDOW,
    columns={
        "sales": count(),
        "amount": total("amount"),
        **({"smallest": minimum("amount")} if os.environ.get("TEST_MORE_COLUMNS") else {}),
    },
    emit=CountryTotal,
)

user_sums = Table(
    "user_sums", source=Sale, by="user", columns={"sales": count(), "amount": total("amount")}
)

large_totals = Table(
    "large_totals",
    source=LargeSale,
    fed_by=Sale,
    by="country",
    window=WINDOW,
    columns={"sales": count(), "amount": total("amount")},
    emit=LargeTotal,
)

tables = [user_totals, country_totals, user_sums, large_totals]
chosen = os.environ.get("TEST_TABLES", "user_totals,country_totals,user_sums").split(",")
app = Headrace(settings, tables=[table for table in tables if table.name in chosen])


@app.agent(Sale)
async def pass_on(sales):
    """Pass every sale on; a sale of amount -1 is a poison that no retry helps."""
    async for batch in sales:
        if not MENDED and (batch.frame["amount"] == POISON).any():
            raise ValueError("poison")
        if large_totals.name in chosen:
            batch.update(large_totals, batch.frame.filter(pl.col("amount") >= LARGE))
        batch.emit(SalePassed, batch.frame.select("user", "sequence", "amount", "_time", "_offset"))


app.load([Sale, SalePassed, UserTotal, CountryTotal, LargeSale, LargeTotal])

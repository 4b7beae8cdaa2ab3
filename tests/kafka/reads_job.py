"""The test application with tables that are read across workers, and a page that scans one by code."""

from __future__ import annotations

from app.engine.aggregates import count, total
from app.engine.language.parts_missing import PartsMissingError
from app.engine.language.table import Table
from app.engine.windows import tumbling
from app.settings import load_settings
from app.start import prepare_process

settings = load_settings()
prepare_process(settings)

from app.worker import Headrace  # noqa: E402 - after the process is prepared
from tests.kafka.job import Sale  # noqa: E402

COLUMNS = {"sales": count(), "sum": total("amount")}
by_user = Table("by_user", source=Sale, by="user", columns=COLUMNS)
by_amount = Table("by_amount", source=Sale, by="amount", columns=COLUMNS)
recent = Table("recent", source=Sale, by="amount", ttl="30m", columns=COLUMNS)
by_country = Table(
    "by_country",
    source=Sale,
    by=("country", "amount"),
    window=tumbling("5s", grace="1s", keep="2h"),
    columns=COLUMNS,
)
TABLES = {table.name: table for table in (by_user, by_amount, recent, by_country)}

app = Headrace(settings, tables=TABLES.values())


@app.page("/scan/{name}")
async def scan(web, request, name):
    """All rows of a table, and what is missing of them."""
    rows, missing = [], {}
    try:
        async for frame in TABLES[name].scan():
            rows += frame.rows()
    except PartsMissingError as error:
        missing = error.missing
    return web.json({"rows": rows, "missing": missing})


@app.page("/here/{name}")
async def here(web, request, name):
    """How many partitions of a table this worker has."""
    return web.json({"partitions": len(app.parts.reader.partitions(name))})


app.load([Sale])

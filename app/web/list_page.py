"""The page with the list of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.engine.reading.reader import TableInfo
from app.engine.reading.restore_progress import Restoring
from app.web import cell_text
from app.web.cell_text import Cell
from app.web.layout import document, heading, table_url
from app.web.markup import Markup, element
from app.web.table_views import Count

NO_TABLES = "There are no tables yet. A table is one file in tables/."

Listed = tuple[TableInfo, Count, Restoring | None]
"""A table, its newest window, and its restore."""


def html(tables: Sequence[Listed]) -> str:
    """The whole page."""
    return document("Tables", element("h1", "Tables"), _tables(tables))


def payload(tables: Sequence[Listed]) -> dict[str, Any]:
    """What of the page changes while it is looked at."""
    return {"rows": [[info.name, _live(*listed)] for listed in tables for info in listed[:1]]}


def _tables(tables: Sequence[Listed]) -> Markup:
    if not tables:
        return element("p", NO_TABLES, class_="message")
    head = element(
        "tr",
        heading("Table"),
        heading("Source"),
        heading("Keys"),
        heading("Window"),
        heading("Newest window (UTC)"),
        heading("Rows in it", number=True),
    )
    return element(
        "section",
        element(
            "table",
            element("caption", "The tables of this worker", class_="quiet"),
            element("thead", head),
            element("tbody", [_row(*listed) for listed in tables], id="rows"),
            class_="list",
        ),
        id="view",
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label="Tables",
        data_events="/events",
    )


def _row(info: TableInfo, newest: Count, restoring: Restoring | None) -> Markup:
    window, count = _live(info, newest, restoring)
    name = element("a", info.name, href=table_url(info.name))
    description = element("p", info.description) if info.description else None
    return element(
        "tr",
        element("th", name, description, scope="row"),
        element("td", info.source),
        element("td", ", ".join(info.keys)),
        element("td", info.window),
        element("td", window.text, title=window.hint or None, data_live=True),
        element("td", count.text, class_="number", data_live=True),
        data_id=info.name,
    )


def _live(info: TableInfo, newest: Count, restoring: Restoring | None) -> tuple[Cell, Cell]:
    if restoring is not None:
        return cell_text.restoring(restoring), cell_text.NOTHING
    if newest.window is None:
        return cell_text.NOTHING, Cell("0")
    count = Cell(f"{newest.rows:,}" if newest.exact else f"at most {newest.rows:,}")
    if info.window_size_ms is None:
        return cell_text.NOTHING, count
    return cell_text.window(newest.window, newest.window + info.window_size_ms), count

"""The frame around every page, and the page of an error."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from app.engine.reading.reader import TableInfo
from app.web.markup import Content, Markup, element


def document(title: str, *content: Content) -> str:
    """A whole HTML page."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} · Headrace"),
        element("link", rel="icon", href="/static/headrace.svg", type="image/svg+xml"),
        element("link", rel="stylesheet", href="/static/headrace.css"),
        element("script", src="/static/headrace.js", type="module"),
    )
    body = element("body", _header(), element("main", *content, id="main"))
    return "<!doctype html>\n" + element("html", head, body, lang="en")


def table_url(name: str) -> str:
    """The address of a table's page."""
    return f"/tables/{quote(name, safe='')}"


def error_page(title: str, message: str, tables: Sequence[TableInfo]) -> str:
    """What went wrong, and where to go from here."""
    links = [element("li", element("a", info.name, href=table_url(info.name))) for info in tables]
    known = element("ul", links, class_="tables") if links else element("p", "There are none yet.")
    return document(
        title,
        element("h1", title),
        element("p", message, class_="message"),
        element("h2", "Tables"),
        known,
    )


def heading(label: str, *, number: bool = False, **attributes: str | None) -> Markup:
    """The head of a table's column."""
    return element("th", label, scope="col", class_="number" if number else None, **attributes)


def _header() -> Markup:
    mark = element("img", src="/static/headrace.svg", alt="", width=28, height=28)
    return element(
        "header",
        element("a", "To the table", href="#main", class_="skip"),
        element("a", mark, "Headrace", href="/", class_="brand"),
        element(
            "p",
            element("span", "as loaded", data_text="connection"),
            id="connection",
            role="status",
            data_state="off",
        ),
    )

"""The controls of a table's page: filters, window and rows per page, as a plain GET form."""

from __future__ import annotations

from app.engine.reading.reader import TableInfo
from app.web import cell_text
from app.web.markup import Markup, element
from app.web.rows_query import FILTER_CHARACTERS_MAX, RowsQuery
from app.web.table_views import Page

WINDOWS_OFFERED_MAX = 100
LIMITS = (25, 50, 100, 200, 500, 1000)


def form(info: TableInfo, query: RowsQuery, page: Page, limit_max: int) -> Markup:
    """The form; submitting it gives the same page under its new query."""
    parameters, options = query.parameters(info), window_options(info, query, page)
    hidden = [
        element("input", type="hidden", name=name, value=parameters[name])
        for name in ("sort", "order")
        if name in parameters
    ]
    return element(
        "form",
        _filters(info, query),
        _select("window", "Window", str(query.window), options) if options else None,
        _select("limit", "Rows", str(query.limit), _limits(query, limit_max)),
        hidden,
        element("button", "Apply"),
        method="get",
        role="search",
        aria_label="Choose rows",
    )


def window_options(info: TableInfo, query: RowsQuery, page: Page) -> list[tuple[str, str]]:
    """Values and labels of the windows to choose from: at most the WINDOWS_OFFERED_MAX newest.

    Empty where the table has no windows.
    """
    size_ms = info.window_size_ms
    if size_ms is None:
        return []
    starts = list(page.windows[:WINDOWS_OFFERED_MAX])
    if isinstance(query.window, int) and query.window not in starts:
        starts.append(query.window)
    return [
        ("newest", "newest"),
        ("all", f"all {len(page.windows):,} kept"),
        *((str(start), cell_text.window(start, start + size_ms).text) for start in starts),
    ]


def _filters(info: TableInfo, query: RowsQuery) -> list[Markup]:
    """One box for all keys, and with several keys one for each."""
    texts = dict(query.filters)
    if not info.keys:
        return []
    first = info.keys[0] if len(info.keys) == 1 else "any key"
    boxes = [("", f"Filter by {first}")]
    boxes += [(key, key) for key in info.keys if len(info.keys) > 1 or key in texts]
    return [
        _labelled(
            label,
            element(
                "input",
                type="search",
                name="filter." + key if key else "filter",
                id=f"filter-{key}",
                value=texts.get(key, ""),
                maxlength=FILTER_CHARACTERS_MAX,
                placeholder="contains …",
                autocomplete="off",
                spellcheck="false",
            ),
        )
        for key, label in boxes
    ]


def _limits(query: RowsQuery, limit_max: int) -> list[tuple[str, str]]:
    limits = sorted({query.limit, *(limit for limit in LIMITS if limit <= limit_max)})
    return [(str(limit), f"{limit:,} per page") for limit in limits]


def _labelled(label: str, control: Markup) -> Markup:
    return element("label", element("span", label), control)


def _select(name: str, label: str, chosen: str, options: list[tuple[str, str]]) -> Markup:
    items = [
        element("option", text, value=value, selected=value == chosen) for value, text in options
    ]
    return _labelled(label, element("select", items, name=name, id=name))

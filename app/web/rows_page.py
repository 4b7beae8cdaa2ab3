"""The page of one table: its rows under a filter, order and window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from app.engine.reading.reader import TableInfo
from app.engine.reading.restore_progress import Restoring
from app.engine.windows import WINDOW_END, WINDOW_START
from app.web import cell_text
from app.web.cell_text import Cell
from app.web.layout import document, heading
from app.web.markup import Markup, element
from app.web.rows_form import form, window_options
from app.web.rows_query import RowsQuery, sortable_columns
from app.web.table_views import Page

UNITS = "All times are UTC; the exact value of a shortened number shows on hover."

ROW_HEADER, TEXT, NUMBER = "h", "t", "n"
"""Kinds of columns, as the script knows them too."""


@dataclass(frozen=True)
class RowsPage:
    """One page of rows as people see it."""

    info: TableInfo
    query: RowsQuery
    page: Page
    restoring: Restoring | None = None

    def html(self, limit_max: int) -> str:
        """The whole page."""
        info = self.info
        about = f"{info.source} by {', '.join(info.keys)}" if info.keys else info.source
        return document(
            info.name,
            element("nav", element("a", "Tables", href="/"), aria_label="Up"),
            element("h1", info.name),
            element("p", info.description, class_="description") if info.description else None,
            element("p", about, element("span", info.window), class_="about"),
            form(info, self.query, self.page, limit_max),
            self._view(),
            self._foot(),
            element("p", UNITS, class_="units"),
        )

    def payload(self) -> dict[str, Any]:
        """What of the page changes while it is looked at."""
        earlier, later = self._neighbours()
        return {
            "rows": self._rows(),
            "status": self._status(),
            "window": self._window(),
            "windows": window_options(self.info, self.query, self.page),
            "earlier": earlier,
            "later": later,
        }

    def _view(self) -> Markup:
        columns = self._columns()
        table = element(
            "table",
            element("caption", element("span", self._window(), data_text="window")),
            element("thead", element("tr", [self._heading(*column) for column in columns])),
            element("tbody", [_row(*row, columns) for row in self._rows()], id="rows"),
            class_="rows",
        )
        return element(
            "section",
            table,
            id="view",
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label="Rows",
            data_events=self.query.url(self.info, suffix="/events"),
            data_url=self.query.url(self.info),
            data_kinds="".join(kind for _, kind in columns),
        )

    def _foot(self) -> Markup:
        earlier, later = self._neighbours()
        return element(
            "div",
            element("p", self._status(), data_text="status", role="status", aria_live="polite"),
            element(
                "nav",
                element("a", "Previous", id="earlier", href=earlier, rel="prev"),
                element("a", "Next", id="later", href=later, rel="next"),
                aria_label="Pages",
            ),
            class_="foot",
        )

    @property
    def _shows_windows(self) -> bool:
        """Whether each row says which window it is of."""
        return self.query.window == "all" and self.info.window_size_ms is not None

    def _columns(self) -> list[tuple[str, str]]:
        """Names and kinds of the shown columns."""
        info = self.info
        window = [(WINDOW_START, TEXT)] if self._shows_windows else []
        keys = [(key, TEXT if at else ROW_HEADER) for at, key in enumerate(info.keys)]
        numbers = [cell_text.is_number(info.schema[name]) for name in info.columns]
        kinds = [NUMBER if number else TEXT for number in numbers]
        return [*window, *keys, *zip(info.columns, kinds, strict=True)]

    def _heading(self, name: str, kind: str) -> Markup:
        number = kind == NUMBER
        label = "window" if name == WINDOW_START else name
        if name != WINDOW_START and name not in sortable_columns(self.info):
            return heading(label, number=number)
        chosen = name == self.query.sort
        downwards = not self.query.descending if chosen else number or name == WINDOW_START
        query = replace(self.query, sort=name, descending=downwards, offset=0)
        order = ("descending" if self.query.descending else "ascending") if chosen else None
        return element(
            "th",
            element("a", label, href=query.url(self.info), id=f"sort-{name}"),
            scope="col",
            class_="number" if number else None,
            aria_sort=order,
        )

    def _rows(self) -> list[tuple[str, list[Cell]]]:
        """Rows with an identity that stays while their cells change."""
        frame = self.page.frame
        starts, ends = frame[WINDOW_START].to_list(), frame[WINDOW_END].to_list()
        windows = list(map(cell_text.window, starts, ends))
        keys = [cell_text.cells(frame[key], plain=True) for key in self.info.keys]
        columns = [cell_text.cells(frame[name], plain=False) for name in self.info.columns]
        shown = [*([windows] if self._shows_windows else []), *keys, *columns]
        identities = (
            msgspec.json.encode(identity).decode() for identity in zip(starts, *keys, strict=True)
        )
        return [
            (identity, list(cells))
            for identity, cells in zip(identities, zip(*shown, strict=True), strict=True)
        ]

    def _status(self) -> str:
        if self.restoring is not None:
            return f"The table is {cell_text.restoring(self.restoring).text}"
        page, offset = self.page, self.query.offset
        of = f"{page.total:,}"
        if self.query.filters:
            of += f" that match, out of {page.total_unfiltered:,}"
        if page.total == 0:
            text = "No row matches the filter" if page.total_unfiltered else "No rows yet"
        elif page.frame.is_empty():
            text = f"No rows from {offset + 1:,} on: there are {of}"
        else:
            text = f"Rows {offset + 1:,} to {offset + page.frame.height:,} of {of}"
        if page.left_out:
            text += f"; the {page.left_out:,} oldest windows are left out"
        if page.truncated:
            text += "; the window has more: filter by a whole key to find it among them"
        return text

    def _window(self) -> str:
        page, query = self.page, self.query
        size_ms = self.info.window_size_ms
        if size_ms is None:
            return "One row per key"
        if query.window == "all":
            return f"{len(page.windows):,} kept windows"
        if page.window is None:
            return "No window yet"
        text = cell_text.window(page.window, page.window + size_ms).text
        if query.window == "newest":
            return f"Newest window · {text}"
        return text if page.window in page.windows else f"{text} · not kept any more"

    def _neighbours(self) -> tuple[str | None, str | None]:
        """Addresses of the previous and the next page, where there are such."""
        query, total = self.query, self.page.total
        before = min(query.offset - query.limit, max(total - 1, 0) // query.limit * query.limit)
        earlier = replace(query, offset=max(before, 0)).url(self.info) if query.offset else None
        later = query.offset + query.limit
        return earlier, replace(query, offset=later).url(self.info) if later < total else None


def _row(identity: str, cells: list[Cell], columns: list[tuple[str, str]]) -> Markup:
    return element(
        "tr",
        [_cell(cell, kind) for cell, (_, kind) in zip(cells, columns, strict=True)],
        data_id=identity,
    )


def _cell(cell: Cell, kind: str) -> Markup:
    hint = cell.hint or None
    if kind == ROW_HEADER:
        return element("th", cell.text, scope="row", title=hint)
    return element("td", cell.text, class_="number" if kind == NUMBER else None, title=hint)

"""What a viewer asks of a table: window, filter, order and page, as it stands in the URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode

from app.engine.reading.reader import TableInfo
from app.engine.windows import WINDOW_START

LIMIT_DEFAULT = 50
FILTER_CHARACTERS_MAX = 200
_INTEGER_MAX = 2**63 - 1


class QueryError(ValueError):
    """A parameter that cannot be served; the message names it and says what is allowed."""


@dataclass(frozen=True)
class RowsQuery:
    """A checked query.

    window:  "newest", "all" (the windows that are kept), or the start of one in ms.
    filters: (key column, text) pairs; the column "" stands for any of the key columns. A row
             matches when every text is contained in its column, in upper or lower case.
    sort:    a key, a column or "window_start". Ties are broken by newer windows, then by the keys.
    """

    window: Literal["newest", "all"] | int
    filters: tuple[tuple[str, str], ...]
    sort: str
    descending: bool
    offset: int
    limit: int

    def parameters(self, info: TableInfo) -> dict[str, str]:
        """The parameters that give this query again, without those at their defaults."""
        found = {"filter." + column if column else "filter": text for column, text in self.filters}
        if self.window != "newest":
            found["window"] = str(self.window)
        if (self.sort, self.descending) != _default_order(info, self.window):
            found["sort"] = self.sort
            found["order"] = "desc" if self.descending else "asc"
        if self.offset:
            found["offset"] = str(self.offset)
        if self.limit != LIMIT_DEFAULT:
            found["limit"] = str(self.limit)
        return found

    def url(self, info: TableInfo, *, suffix: str = "") -> str:
        """The address of the table's page with this query."""
        parameters = urlencode(self.parameters(info))
        path = f"/tables/{quote(info.name, safe='')}{suffix}"
        return f"{path}?{parameters}" if parameters else path


def parse(parameters: Mapping[str, str], info: TableInfo, *, rows_max: int) -> RowsQuery:
    """Read a query from URL parameters; QueryError when one of them is wrong."""
    filters = {"filter": "", **{f"filter.{key}": key for key in info.keys}}
    known = {"window", "sort", "order", "offset", "limit", *filters}
    for name in parameters:
        if name not in known:
            raise QueryError(f"unknown parameter {name!r}; known are {', '.join(sorted(known))}")
    window = _window(parameters.get("window", ""))
    default_sort, default_descending = _default_order(info, window)
    sort = parameters.get("sort", "") or default_sort
    sortable = [WINDOW_START, *sortable_columns(info)]
    if sort not in sortable:
        raise QueryError(f"sort={sort!r} is not one of {', '.join(sortable)}")
    order = parameters.get("order", "")
    if order not in ("", "asc", "desc"):
        raise QueryError(f"order={order!r} is neither asc nor desc")
    given = [(column, parameters.get(name, "")) for name, column in filters.items()]
    for column, text in given:
        if len(text) > FILTER_CHARACTERS_MAX:
            raise QueryError(
                f"filter{column and '.' + column} is longer than {FILTER_CHARACTERS_MAX} characters"
            )
    return RowsQuery(
        window=window,
        filters=tuple((column, text) for column, text in given if text),
        sort=sort,
        descending=order == "desc" if order else sort == default_sort and default_descending,
        offset=_integer(parameters, "offset", 0, low=0, high=_INTEGER_MAX),
        limit=_integer(parameters, "limit", min(LIMIT_DEFAULT, rows_max), low=1, high=rows_max),
    )


def sortable_columns(info: TableInfo) -> list[str]:
    """The keys and columns that have an order."""
    return [name for name in (*info.keys, *info.columns) if not info.schema[name].is_nested()]


def _default_order(info: TableInfo, window: str | int) -> tuple[str, bool]:
    """All windows: newest first; one window: by its first key."""
    if window == "all" or not info.keys:
        return WINDOW_START, True
    return info.keys[0], False


def _window(text: str) -> Literal["newest", "all"] | int:
    if text in ("", "newest"):
        return "newest"
    if text == "all":
        return "all"
    try:
        start = int(text)
    except ValueError:
        start = _INTEGER_MAX + 1
    if abs(start) > _INTEGER_MAX:
        raise QueryError(f"window={text!r} is not newest, all or a window's start in milliseconds")
    return start


def _integer(parameters: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    text = parameters.get(name, "")
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise QueryError(f"{name}={text!r} is not a whole number from {low} to {high}")
    return value

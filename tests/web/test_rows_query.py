"""URL parameters to queries and back."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from app.web.rows_query import FILTER_CHARACTERS_MAX, QueryError, RowsQuery, parse
from tests.web.fake_reader import describe

INFO = describe(
    "sales",
    {"country": pl.String(), "shop": pl.Int64()},
    {"orders": pl.Int64(), "items": pl.List(pl.String())},
)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sorted": "orders"}, "unknown parameter 'sorted'; known are filter, filter.country"),
        ({"filter.city": "x"}, "unknown parameter 'filter.city'"),
        ({"sort": "amount"}, "sort='amount' is not one of window_start, country, shop, orders"),
        ({"sort": "items"}, "sort='items' is not one of"),
        ({"order": "down"}, "order='down' is neither asc nor desc"),
        ({"window": "last"}, "window='last' is not newest, all or"),
        ({"window": "9" * 30}, "is not newest, all or"),
        ({"window": "9" * 5000}, "is not newest, all or"),
        ({"offset": "-1"}, "offset='-1' is not a whole number from 0"),
        ({"offset": "1.5"}, "offset='1.5' is not a whole number"),
        ({"limit": "0"}, "limit='0' is not a whole number from 1 to 500"),
        ({"limit": "501"}, "limit='501' is not a whole number from 1 to 500"),
        ({"filter": "x" * (FILTER_CHARACTERS_MAX + 1)}, "filter is longer than 200 characters"),
        ({"filter.country": "x" * 999}, "filter.country is longer than 200 characters"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(QueryError) as error:
        parse(parameters, INFO, rows_max=500)
    assert message in str(error.value)


def test_empty_parameters_are_the_defaults() -> None:
    names = ("window", "filter", "filter.shop", "sort", "order", "offset", "limit")
    assert parse(dict.fromkeys(names, ""), INFO, rows_max=500) == parse({}, INFO, rows_max=500)


def test_all_windows_come_newest_first() -> None:
    query = parse({"window": "all"}, INFO, rows_max=500)
    assert (query.sort, query.descending) == ("window_start", True)


def test_the_default_limit_obeys_the_maximum() -> None:
    assert parse({}, INFO, rows_max=10).limit == 10


@given(
    st.builds(
        RowsQuery,
        window=st.sampled_from(["newest", "all"]) | st.integers(-(2**62), 2**62),
        filters=st.dictionaries(
            st.sampled_from(["", "country", "shop"]), st.text(min_size=1, max_size=20)
        ).map(lambda texts: tuple(sorted(texts.items()))),
        sort=st.sampled_from(["window_start", "country", "shop", "orders"]),
        descending=st.booleans(),
        offset=st.integers(0, 2**40),
        limit=st.integers(1, 500),
    )
)
def test_a_query_survives_its_url(query: RowsQuery) -> None:
    url = URL(query.url(INFO), encoded=True)
    assert parse(url.query, INFO, rows_max=500) == query

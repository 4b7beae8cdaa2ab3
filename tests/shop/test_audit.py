"""Each way in which a table can be wrong is found."""

from __future__ import annotations

import polars as pl
import pytest

from app.shop.audit import START, Finding, audit_counts, audit_table, expected_rows, rows_of
from app.shop.books import BOOKS
from app.shop.totals import WindowTotals

BOOK = next(book for book in BOOKS if book.table == "orders_per_customer")
NOTHING = rows_of(BOOK, pl.DataFrame())
EXPECTED = expected_rows(
    BOOK,
    [
        WindowTotals(
            BOOK.table, 0, {"customer_id": ["a", "b"], "orders": [2, 3], "spent": [10.0, 0.3]}
        ),
        WindowTotals(BOOK.table, 60_000, {"customer_id": ["a"], "orders": [5], "spent": [7.5]}),
        WindowTotals("page_views", 0, {"page": ["/"], "views": [1]}),
    ],
)
CLOSED, OPEN = EXPECTED.filter(pl.col(START) == 0), EXPECTED.filter(pl.col(START) > 0)


def audit(derived: pl.DataFrame, kept: pl.DataFrame, closed_to: int = 60_000) -> Finding:
    return audit_table(BOOK, EXPECTED, derived, kept, closed_to)


def test_other_tables_are_left_out() -> None:
    assert EXPECTED.height == 3


def test_closed_in_events_and_open_on_the_page_is_right() -> None:
    assert audit(CLOSED, OPEN) == Finding()
    assert audit(CLOSED, EXPECTED) == Finding()
    assert audit(EXPECTED, NOTHING) == Finding()


def test_sum_may_differ_by_its_order() -> None:
    nearly = CLOSED.with_columns(spent=pl.col("spent") * (1 + 1e-14))
    assert audit(nearly, OPEN) == Finding()


@pytest.mark.parametrize(
    ("derived", "kept", "lost", "words"),
    [
        (CLOSED, NOTHING, 5, "missing"),
        (CLOSED.head(1), OPEN, 3, "closed but in no derived event"),
        (CLOSED.head(1), EXPECTED, 0, "closed but in no derived event"),
        (pl.concat([CLOSED, CLOSED.head(1)]), OPEN, 0, "more than one derived event"),
        (CLOSED.with_columns(spent=pl.col("spent") + 1), OPEN, 0, "spent is 11.0"),
        (CLOSED.with_columns(orders=pl.col("orders") - 1), OPEN, 2, "orders is 1.0"),
        (CLOSED, OPEN.with_columns(spent=pl.lit(None, pl.Float64)), 0, "spent is None"),
        (CLOSED, OPEN.with_columns(customer_id=pl.lit("x")), 5, "only in the table's page"),
    ],
)
def test_fault_is_found(derived: pl.DataFrame, kept: pl.DataFrame, lost: int, words: str) -> None:
    finding = audit(derived, kept)
    assert finding.lost == lost
    assert any(words in line for line in finding.differences)


def test_counts_by_name() -> None:
    finding = audit_counts("late events of", {"x": 2, "y": 1}, {"x": 1, "y": 3})
    assert finding.lost == 1
    assert finding.differences == [
        "late events of x: 1 instead of 2",
        "late events of y: 3 instead of 1",
    ]
    assert audit_counts("late events of", {"x": 0}, {}) == Finding()

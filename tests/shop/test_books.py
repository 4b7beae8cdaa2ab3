"""The books and the tables tell the same, figure by figure."""

from __future__ import annotations

import pytest

from app.engine.language.table import Table
from app.shop.books import BOOKS, LATE_AFTER_MS, Book
from app.shop.mishaps import OUT_OF_ORDER_MS_MAX


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.table)
def test_book_has_the_window_keys_and_columns_of_its_table(
    book: Book, tables: dict[str, Table]
) -> None:
    table = tables[book.table]
    assert table.source is book.source
    assert table.by == tuple(book.keys)
    assert list(table.columns) == list(book.figures)
    assert (table.windowing.size_ms, table.windowing.grace_ms) == (book.size_ms, book.grace_ms)


def test_every_table_has_a_book(tables: dict[str, Table]) -> None:
    assert sorted(tables) == sorted(book.table for book in BOOKS)


def test_events_out_of_order_stay_within_every_grace() -> None:
    assert all(book.grace_ms > OUT_OF_ORDER_MS_MAX for book in BOOKS)
    assert all(book.size_ms + book.grace_ms <= LATE_AFTER_MS for book in BOOKS)


def test_one_table_needs_no_repartition(tables: dict[str, Table]) -> None:
    assert [name for name, table in sorted(tables.items()) if table.aligned] == [
        "orders_per_customer"
    ]

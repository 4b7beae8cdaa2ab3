"""Compares what the tables say with what the shop has sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from app.shop.books import Book
from app.shop.totals import WindowTotals

START = "window_start"
TOLERANCE = 1e-9
"""Sums of floats may differ by their order, relative to their size."""
_SHOWN_MAX = 3


@dataclass
class Finding:
    """lost: events that are in no row although they should be. differences: lines for people."""

    lost: int = 0
    differences: list[str] = field(default_factory=list)

    def add(self, other: Finding) -> None:
        """Take in another one."""
        self.lost += other.lost
        self.differences += other.differences

    def shown(self, count: int) -> list[str]:
        """The first differences, and how many more there are."""
        hidden = len(self.differences) - count
        return self.differences[:count] + ([f"and {hidden} more differences"] if hidden > 0 else [])


def expected_rows(book: Book, windows: Iterable[WindowTotals]) -> pl.DataFrame:
    """The rows that the table must have: window_start, the keys, the figures as floats."""
    frames = [
        rows_of(book, pl.DataFrame({START: [window.start] * _height(window), **window.rows}))
        for window in windows
        if window.table == book.table
    ]
    return pl.concat(frames) if frames else rows_of(book, pl.DataFrame())


def rows_of(book: Book, frame: pl.DataFrame) -> pl.DataFrame:
    """The same columns of rows that were read; an empty frame may lack them."""
    kinds = {
        START: pl.Int64(),
        **dict.fromkeys(book.keys, pl.String()),
        **dict.fromkeys(book.figures, pl.Float64()),
    }
    if frame.is_empty():
        return pl.DataFrame(schema=kinds)
    return frame.select(pl.col(name).cast(kind) for name, kind in kinds.items())


def audit_table(
    book: Book, expected: pl.DataFrame, derived: pl.DataFrame, kept: pl.DataFrame, closed_to: int
) -> Finding:
    """Check one table.

    derived:   the rows of the derived events, one per window and key, at most.
    kept:      rows that the worker shows; those of windows that are not in `derived` at least.
    closed_to: windows that end by this time (ms) must be in `derived`.
    """
    finding = Finding()
    identity = [START, *book.keys]
    twice = derived.filter(derived.select(identity).is_duplicated())
    _note(finding, book, twice, "are in more than one derived event")
    derived = derived.unique(identity, maintain_order=True)
    closed = expected.filter(pl.col(START) + book.size_ms <= closed_to)
    unseen = closed.join(derived, on=identity, how="anti")
    _note(finding, book, unseen, "are closed but in no derived event")
    for rows, place in ((derived, "derived events"), (kept, "the table's page")):
        _note(finding, book, rows.join(expected, on=identity, how="anti"), f"are only in {place}")
        _compare(finding, book, expected, rows, place)
    found = pl.concat([derived, kept]).unique(identity, keep="first", maintain_order=True)
    _count_lost(finding, book, expected, found)
    return finding


def audit_counts(what: str, expected: Mapping[str, int], found: Mapping[str, int]) -> Finding:
    """Check numbers by name; what is missing is lost."""
    finding = Finding()
    for name in sorted({*expected, *found}):
        wanted, got = expected.get(name, 0), found.get(name, 0)
        if wanted != got:
            finding.differences.append(f"{what} {name}: {got:,} instead of {wanted:,}")
            finding.lost += max(0, wanted - got)
    return finding


def _compare(
    finding: Finding, book: Book, expected: pl.DataFrame, rows: pl.DataFrame, place: str
) -> None:
    """Note the rows whose figures differ."""
    both = expected.join(rows, on=[START, *book.keys], how="inner", suffix="_found")
    for name in book.figures:
        wanted, got = pl.col(name), pl.col(f"{name}_found")
        limit = TOLERANCE * pl.max_horizontal(wanted.abs(), pl.lit(1.0))
        wrong = both.filter(((wanted - got).abs() > limit).fill_null(True))
        for row in wrong.head(_SHOWN_MAX).iter_rows(named=True):
            finding.differences.append(
                f"{book.table} {_label(row, book)}: {name} is {row[f'{name}_found']} in {place} "
                f"instead of {row[name]}"
            )
        _rest(finding, book, len(wrong), f"with a wrong {name} in {place}")


def _count_lost(finding: Finding, book: Book, expected: pl.DataFrame, found: pl.DataFrame) -> None:
    """Count the events that no row holds."""
    count = next(
        name for name, figure in book.figures.items() if figure.kind == "count" and not figure.where
    )
    both = expected.join(found, on=[START, *book.keys], how="left", suffix="_found")
    missing = both.filter(pl.col(f"{count}_found").is_null())
    _note(finding, book, missing, "are missing")
    lost = both[count] - both[f"{count}_found"].fill_null(0)
    finding.lost += int(lost.clip(lower_bound=0).sum())


def _note(finding: Finding, book: Book, rows: pl.DataFrame, problem: str) -> None:
    for row in rows.head(_SHOWN_MAX).iter_rows(named=True):
        finding.differences.append(f"{book.table}: rows {problem}: {_label(row, book)}")
    _rest(finding, book, len(rows), problem)


def _rest(finding: Finding, book: Book, count: int, problem: str) -> None:
    if count > _SHOWN_MAX:
        finding.differences.append(f"{book.table}: {count - _SHOWN_MAX:,} more rows {problem}")


def _label(row: Mapping[str, object], book: Book) -> str:
    return " ".join([f"window {row[START]}", *(str(row[key]) for key in book.keys)])


def _height(window: WindowTotals) -> int:
    columns: Sequence[Sequence[object]] = list(window.rows.values())
    return len(columns[0]) if columns else 0

"""The demo's last question: does every event that was sent stand where it belongs?"""

from __future__ import annotations

import polars as pl

from app.events.event import event_type
from app.shop.audit import START, Finding, audit_counts, audit_table, expected_rows, rows_of
from app.shop.books import BOOKS, REACTIONS, Book
from app.shop.kept_rows import kept_rows
from app.shop.outputs import Outputs
from app.shop.scene import Scene
from app.shop.totals import Summary, WindowTotals


def judge(
    scene: Scene, address: str, outputs: Outputs, windows: list[WindowTotals], summary: Summary
) -> Finding:
    """Check all tables, agents, late events and dead letters. PageError: a page does not answer."""
    finding = Finding()
    for book in BOOKS:
        if book.table in scene.tables:
            finding.add(_judge_table(book, scene, address, outputs, windows, summary))
        else:
            finding.differences.append(f"there is no table {book.table} any more")
    finding.add(audit_counts("late events of", summary.late, _checked(outputs.late, summary.late)))
    bad = sum(summary.bad.values())
    finding.add(audit_counts("number of", {"dead letters": bad}, {"dead letters": outputs.dead}))
    derived = {
        event_type(item.derived).name: outputs.derived[event_type(item.derived).topic]
        for item in REACTIONS
    }
    finding.add(audit_counts("derived events of type", summary.reactions, derived))
    return finding


def unchecked(scene: Scene) -> list[str]:
    """Tables that the shop keeps no books of, so that nobody can check them."""
    return sorted(scene.tables.keys() - {book.table for book in BOOKS})


def _judge_table(
    book: Book,
    scene: Scene,
    address: str,
    outputs: Outputs,
    windows: list[WindowTotals],
    summary: Summary,
) -> Finding:
    expected = expected_rows(book, windows)
    emitted = scene.tables[book.table].emit
    values = outputs.values[event_type(emitted).topic] if emitted else []
    derived = rows_of(book, _from_json(values))
    kept: list[dict[str, object]] = []
    for window in _to_ask_for(book, expected, derived):
        kept += kept_rows(address, book.table, window)
    closed_to = summary.closed_to[book.table]
    return audit_table(
        book,
        expected,
        derived,
        rows_of(book, pl.DataFrame(kept, infer_schema_length=None)),
        closed_to,
    )


def _to_ask_for(book: Book, expected: pl.DataFrame, derived: pl.DataFrame) -> list[int]:
    """The windows that are not wholly in derived events, and the newest one that is."""
    open_rows = expected.join(derived, on=[START, *book.keys], how="anti")
    windows = open_rows[START].unique().to_list()
    closed = derived.filter(~pl.col(START).is_in(windows))[START].max()
    return sorted(windows if closed is None else [*windows, closed])


def _from_json(values: list[bytes]) -> pl.DataFrame:
    return (
        pl.read_ndjson(b"\n".join(values), infer_schema_length=None) if values else pl.DataFrame()
    )


def _checked(found: dict[str, int], expected: dict[str, int]) -> dict[str, int]:
    """Without the tables that are not checked."""
    return {name: count for name, count in found.items() if name in expected}

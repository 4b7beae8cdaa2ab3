"""The generator's totals against one Polars computation over the very bytes that it sends."""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl
import pytest
from aiokafka.partitioner import murmur2

from app.engine.batch_columns import TIME
from app.engine.language.table import Table
from app.events.event import Event, event_type
from app.shop.audit import START, audit_table, expected_rows, rows_of
from app.shop.books import BOOKS, REACTIONS, READ, Book
from app.shop.generator import Generator
from app.shop.totals import WindowTotals
from app.shop.traffic import SOURCES
from tests.shop.recorded import START_MS, Recorded

PARTITIONS = 4
TYPES = {event_type(cls).name: cls for cls in SOURCES}


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded(PARTITIONS).run(seconds=150, rate=300, seed=11)


@pytest.fixture(scope="module")
def valid(recorded: Recorded) -> dict[type[Event], pl.DataFrame]:
    """Per type, the events that msgspec accepts: the fields, `_time` and `_partition`, in order."""
    rows: dict[type[Event], list[dict[str, object]]] = {cls: [] for cls in SOURCES}
    for item in recorded.sent:
        cls = TYPES.get(item.type_name)
        if cls is None:
            continue
        try:
            event = msgspec.json.decode(item.value, type=cls)
        except msgspec.DecodeError:
            continue
        partition = (murmur2(item.key.encode()) & 0x7FFFFFFF) % PARTITIONS
        fields = msgspec.to_builtins(event)
        rows[cls].append({**fields, TIME: item.time, "_partition": partition})
    return {cls: pl.DataFrame(items, infer_schema_length=None) for cls, items in rows.items()}


def late(book: Book, events: pl.DataFrame) -> np.ndarray:
    """Which events came after their window had closed, told one by one."""
    newest: dict[int, int] = {}
    flags = []
    for time, partition in zip(events[TIME], events["_partition"], strict=True):
        closes = time // book.size_ms * book.size_ms + book.size_ms + book.grace_ms
        flags.append(closes <= newest.get(partition, 0))
        newest[partition] = max(time, newest.get(partition, 0))
    return np.array(flags)


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.table)
def test_totals_equal_the_table_definition_over_the_sent_bytes(
    book: Book,
    recorded: Recorded,
    valid: dict[type[Event], pl.DataFrame],
    tables: dict[str, Table],
) -> None:
    events = valid[book.source]
    flags = late(book, events)
    table = tables[book.table]
    oracle = table.result(table.partial(events.filter(~flags)))
    windows = [WindowTotals(*window) for window in recorded.windows]
    expected = expected_rows(book, windows)
    nothing = rows_of(book, pl.DataFrame())
    finding = audit_table(book, expected, nothing, rows_of(book, oracle), closed_to=0)
    assert finding.differences == []
    assert expected[START].n_unique() > 2
    assert recorded.summary is not None
    assert recorded.summary.late[book.table] == flags.sum()


def test_broken_events_are_those_that_cannot_be_read(
    recorded: Recorded, valid: dict[type[Event], pl.DataFrame]
) -> None:
    summary = recorded.summary
    assert summary is not None
    assert sum(summary.sent.values()) == len(recorded.sent)
    bad = {cls: summary.bad.get(event_type(cls).name, 0) for cls in SOURCES}
    for cls in SOURCES:
        assert len(valid[cls]) == summary.sent[event_type(cls).name] - bad[cls]
    assert sum(bad.values()) > 10
    assert sum(summary.late.values()) > 10
    assert all(summary.reactions.values())
    assert all(cls in READ for cls in bad if bad[cls])


def test_reactions_are_counted(recorded: Recorded, valid: dict[type[Event], pl.DataFrame]) -> None:
    assert recorded.summary is not None
    orders = valid[REACTIONS[0].source]
    large = orders.filter(pl.col("amount") > 1000)
    assert recorded.summary.reactions["order.large"] == len(large)


def test_order_leads_to_payment_and_parcel(valid: dict[type[Event], pl.DataFrame]) -> None:
    names = {event_type(cls).name: frame for cls, frame in valid.items()}
    orders = names["order.placed"].select("order_id", ordered=TIME)
    paid = names["payment.succeeded"].filter(pl.col(TIME) > orders["ordered"].min() + 60_000)
    joined = paid.join(orders, on="order_id", how="left")
    assert joined["ordered"].null_count() < 0.01 * len(joined)  # their order was broken
    failed = names["payment.attempted"]["failed"].mean()
    assert isinstance(failed, float) and 0.01 < failed < 0.1


def test_rate_is_kept(recorded: Recorded) -> None:
    assert len(recorded.sent) == pytest.approx(150 * 300, rel=0.01)


def test_equal_seeds_give_equal_events() -> None:
    first, again, other = (
        Recorded(PARTITIONS).run(seconds=8, rate=500, seed=seed) for seed in (3, 3, 4)
    )
    assert first.sent == again.sent
    assert first.windows == again.windows
    assert first.sent != other.sent


def test_memory_holds_open_windows_only() -> None:
    settled_early: list[str] = []
    generator = Generator(
        1,
        {event_type(cls).topic: PARTITIONS for cls in SOURCES},
        lambda *_: None,
        lambda table, _start, _rows: settled_early.append(table),
    )
    for start in range(START_MS, START_MS + 100_000, 1000):
        generator.run_slice(start, start + 1000, 200)
    assert settled_early.count("page_views") >= 7

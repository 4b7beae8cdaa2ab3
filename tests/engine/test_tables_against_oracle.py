"""Tables against plain Python, whatever happens between two events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.language.question import Question, Rows
from app.engine.language.table import Table
from app.engine.state.sizes import Sizes
from app.engine.windows import Tumbling
from app.kafka.processing.threads import ThreadedMap
from tests.engine.oracle import expect
from tests.engine.sales import KEYS, Sale, sales, table, windows
from tests.engine.segments import segments_of, small_sizes
from tests.engine.workbench import Workbench, counted

PARTITIONS_MAX = 3
BASES = [0, -35, 1_700_000_000_000, 250_000_000_000_000, -62_135_596_800_000]

Step = tuple[Any, ...]
"""The name of a method of the workbench, and what it is given."""


def sends(base: int, partitions: int) -> st.SearchStrategy[Step]:
    """Some events into one partition, each in a record batch of its own."""
    events = st.lists(
        st.tuples(st.integers(0, 80).map(lambda time: base + time), sales), min_size=1, max_size=4
    )
    return st.tuples(st.just("send"), st.integers(0, partitions - 1), events)


reads = st.tuples(st.just("read"), st.integers(0, 20), st.integers(1, 4), st.booleans())
accidents: st.SearchStrategy[Step] = st.sampled_from(
    [
        ("checkpoint",),
        ("checkpoint",),
        ("checkpoint",),
        ("finish",),
        ("abort",),
        ("hand_over", 0),
        ("hand_over", 1),
        ("settle",),
        ("creep",),
        ("compact",),
        ("die_after_commit",),
        ("restart", False),
        ("restart", True),
    ]
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[Step]]:
    """How many partitions; events in any order of time and what happens between them.

    At the end time may pass on all partitions.
    """
    base = draw(st.sampled_from(BASES))
    partitions = draw(st.integers(1, PARTITIONS_MAX))
    send = sends(base, partitions)
    steps = draw(st.lists(st.one_of(send, send, reads, reads, accidents), min_size=10, max_size=60))
    if draw(st.booleans()):
        last = base + draw(st.integers(81, 200))
        steps += [("send", number, [(last, Sale(shop="last"))]) for number in range(partitions)]
    return partitions, steps


tables = st.lists(st.tuples(st.sampled_from(KEYS), windows), min_size=1, max_size=2).map(
    lambda items: [table(f"sales_{n}", by, window) for n, (by, window) in enumerate(items)]
)


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadedMap]:
    """A second thread helps to prepare checkpoints, as it does with large ones."""
    with closing(ThreadedMap("test")) as made:
        yield made


@settings(max_examples=40)
@given(
    helped=st.booleans(),
    tables=tables,
    history=histories(),
    sizes=small_sizes,
    rows_max=st.sampled_from([1, 2, 1000]),
)
def test_tables(
    threads: ThreadedMap,
    helped: bool,
    tables: list[Table],
    history: tuple[int, list[Step]],
    sizes: Sizes,
    rows_max: int,
) -> None:
    partitions, steps = history
    each = threads if helped else map
    bench = Workbench(tables, partitions, sizes, batch_records_max=1, each=each)
    once = Workbench(tables, partitions)
    try:
        with segments_of(rows_max):
            for name, *arguments in steps:
                getattr(bench, name)(*arguments)
            bench.settle()
        for partition, entries in enumerate(bench.sent):
            once.send(partition, entries)
        once.settle()
        for item in tables:
            check(bench, item)
            assert bench.derived(item) == once.derived(item), "ids depend on how the stream was cut"
    finally:
        bench.close()
        once.close()


def check(bench: Workbench, item: Table) -> None:
    """Compare all that a table has given with what it must give."""
    expected = expect(item, bench.sent)
    assert Counter(bench.late(item)) == Counter(expected.late)
    assert counted(list(bench.derived(item).values())) == counted(expected.closed)
    check_reads(bench, item)
    check_rows(bench, item, expected.open, expected.closed, expected.watermarks[-1])


def check_reads(bench: Workbench, item: Table) -> None:
    """Reading by key, or slice by slice, shows what reading whole windows does."""
    reader, rows = bench.worker.reader, bench.rows(item)
    sliced = [
        row
        for start in reader.windows(item.name)
        for row in answered(bench, Question(item.name, window=start))
    ]
    assert counted(sliced) == counted(rows)
    kinds = {name: item.row_schema[name] for name in item.by}
    keys = {tuple(row[name] for name in item.by) for row in rows}
    unknown = tuple(
        {"shop": "?", "region": "?", "size": 77, "gift": None}[name] for name in item.by
    )
    for asked in [*({key} for key in keys), keys, {unknown}]:
        frame = pl.DataFrame(list(asked), schema=kinds, orient="row")
        found = answered(bench, Question(item.name, keys=frame))
        wanted = [row for row in rows if tuple(row[name] for name in item.by) in asked]
        assert counted(found) == counted(wanted)


def answered(bench: Workbench, question: Question) -> list[dict[str, Any]]:
    """The rows of all partitions."""
    reader = bench.worker.reader
    *pieces, whole = reader.answer(question, reader.partitions(question.table))
    assert whole == frozenset(range(bench.partitions))
    return [row for piece in pieces if isinstance(piece, Rows) for row in piece.frame.to_dicts()]


def check_rows(
    bench: Workbench,
    item: Table,
    still_open: Sequence[dict[str, Any]],
    closed: Sequence[dict[str, Any]],
    slowest: int | None,
) -> None:
    """Readers see all open windows, and of the closed ones those that are kept."""
    shown = counted(bench.rows(item))
    assert not counted(still_open) - shown, "an open window is not shown as it is"
    kept = shown - counted(still_open)
    assert not kept - counted(closed), "a row is shown that is neither open nor closed"
    if slowest is not None and not item.aligned:
        must = [row for row in closed if item.windowing.forgotten_at(row["window_start"]) > slowest]
        assert not counted(must) - kept, "a closed window was forgotten too early"


@pytest.mark.parametrize("by", KEYS)
def test_each_kind_of_key_closes(by: tuple[str, ...]) -> None:
    item = table("sales", by, Tumbling(10, 0, 1000))
    bench = Workbench([item], 2)
    with_region = Sale(shop="a", region="", size=3, gift=True, price=0.25)
    bench.send(0, [(1, Sale(shop="a", size=3, gift=True, price=0.5)), (2, with_region)])
    for partition in range(2):
        bench.send(partition, [(20, Sale(shop="b"))])
    bench.settle()
    check(bench, item)
    assert len(bench.derived(item)) == len({(None,), ("",)} if "region" in by else {(3,)})
    bench.close()

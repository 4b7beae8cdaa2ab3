"""Tables against plain Python, whatever happens between two events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.processor import Sizes
from app.engine.table import Table
from app.engine.windows import Tumbling
from tests.engine.oracle import expect
from tests.engine.sales import KEYS, Sale, sales, table, windows
from tests.engine.workbench import Workbench, counted

PARTITIONS = 3
BASES = [0, -35, 1_700_000_000_000, 2**53, -(2**59), 2**60]

Step = Callable[[Workbench], None]


def sends(base: int) -> st.SearchStrategy[Step]:
    return st.builds(
        lambda partition, time, sale: lambda bench: bench.send(partition, base + time, sale),
        st.integers(0, PARTITIONS - 1),
        st.integers(0, 80),
        sales,
    )


reads: st.SearchStrategy[Step] = st.builds(
    lambda number, batches, finish: lambda bench: bench.read(number, batches, finish=finish),
    st.integers(0, 20),
    st.integers(1, 4),
    st.booleans(),
)
accidents: st.SearchStrategy[Step] = st.sampled_from(
    [
        Workbench.checkpoint,
        Workbench.checkpoint,
        Workbench.checkpoint,
        Workbench.finish,
        Workbench.abort,
        Workbench.settle,
        Workbench.compact,
        Workbench.die_after_commit,
        lambda bench: bench.restart(lose_store=False),
        lambda bench: bench.restart(lose_store=True),
    ]
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Step], bool]:
    """Events in any order of time, and what happens between them; whether time passes everywhere at the end."""
    base = draw(st.sampled_from(BASES))
    send = sends(base)
    steps = draw(st.lists(st.one_of(send, send, send, reads, reads, accidents), max_size=60))
    passes = draw(st.booleans())
    if passes:
        last = draw(st.integers(81, 200))
        for partition in range(PARTITIONS):
            steps.append(
                lambda bench, partition=partition: bench.send(  # type: ignore[misc]
                    partition, base + last, Sale(shop="last")
                )
            )
    return steps, passes


tables = st.lists(st.tuples(st.sampled_from(KEYS), windows), min_size=1, max_size=2).map(
    lambda items: [table(f"sales_{n}", by, window) for n, (by, window) in enumerate(items)]
)


@settings(max_examples=80)
@given(tables=tables, history=histories(), fan_in=st.integers(2, 4))
def test_tables(tables: list[Table], history: tuple[list[Step], bool], fan_in: int) -> None:
    bench = Workbench(tables, PARTITIONS, Sizes(fan_in=fan_in))
    once = Workbench(tables, PARTITIONS)
    try:
        for step in history[0]:
            step(bench)
        bench.settle()
        for partition, entries in enumerate(bench.sent):
            for time, sale in entries:
                once.send(partition, time, sale)
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
    check_rows(bench, item, expected.open, expected.closed, expected.watermarks[-1])


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
        must = [row for row in closed if item.window.forgotten_at(row["window_start"]) > slowest]
        assert not counted(must) - kept, "a closed window was forgotten too early"


@pytest.mark.parametrize("by", KEYS)
def test_each_kind_of_key_closes(by: tuple[str, ...]) -> None:
    item = table("sales", by, Tumbling(10, 0, 1000))
    bench = Workbench([item], 2)
    bench.send(0, 1, Sale(shop="a", region=None, size=3, gift=True, price=0.5))
    bench.send(0, 2, Sale(shop="a", region="", size=3, gift=True, price=0.25))
    for partition in range(2):
        bench.send(partition, 20, Sale(shop="b"))
    bench.settle()
    check(bench, item)
    assert len(bench.derived(item)) == len({(None,), ("",)} if "region" in by else {(3,)})
    bench.close()

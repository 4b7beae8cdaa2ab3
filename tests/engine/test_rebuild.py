"""A table that is rebuilt from its source is as if it had always been there; nothing is emitted twice."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.aggregates import count
from app.engine.language.table import Table
from app.engine.state.sizes import Sizes
from app.engine.state.store import StateRefusedError
from app.engine.windows import Tumbling, tumbling
from tests.engine.rebuilding import Interrupted, Rebuilding
from tests.engine.sales import KEYS, Sale, SaleWindow, mortal, table, windows
from tests.engine.segments import segments_of, small_sizes
from tests.engine.test_tables_against_oracle import Step, accidents, check, histories
from tests.engine.workbench import Workbench, counted

rebuilds = st.tuples(
    st.just("rebuild"), st.sampled_from([None, 0, 1, 2, 3, 5]), st.sampled_from([1, 3, None])
)


@st.composite
def rebuilt_histories(draw: st.DrawFn) -> tuple[int, list[Step]]:
    """Events and accidents, and among them rebuilds that may be interrupted and begun anew."""
    partitions, steps = draw(histories())
    for _ in range(draw(st.integers(1, 3))):
        steps.insert(draw(st.integers(0, len(steps))), draw(rebuilds))
        steps.insert(draw(st.integers(0, len(steps))), draw(accidents))
    return partitions, steps


@settings(max_examples=40)
@given(
    by=st.sampled_from(KEYS),
    window=windows,
    history=rebuilt_histories(),
    sizes=small_sizes,
    rows_max=st.sampled_from([1, 2, 1000]),
)
def test_a_rebuild_changes_nothing(
    by: tuple[str, ...],
    window: Tumbling | None,
    history: tuple[int, list[Step]],
    sizes: Sizes,
    rows_max: int,
) -> None:
    """The table beside it is not touched either."""
    partitions, steps = history
    item, other = table("sales", by, window), table("others", ("region",), tumbling(10))
    bench = Workbench([item, other], partitions, sizes, batch_records_max=1)
    try:
        with segments_of(rows_max):
            for name, *arguments in steps:
                if name == "rebuild":
                    _rebuild(bench, item, *arguments)
                else:
                    getattr(bench, name)(*arguments)
            bench.settle()
        check(bench, item)
        check(bench, other)
    finally:
        bench.close()


def _rebuild(bench: Workbench, item: Table, killed_at: int | None, batches_max: int | None) -> None:
    """Stop the worker, rebuild, and start another one with the store of before."""
    if killed_at is not None:
        try:
            Rebuilding(
                bench.log, item, bench.sizes, batches_max=1, transactions_max=killed_at
            ).run()
        except Interrupted:
            if killed_at:
                with pytest.raises(StateRefusedError, match="is being rebuilt"):
                    bench.restart(False)
    Rebuilding(bench.log, item, bench.sizes, batches_max=batches_max).run()
    bench.restart(False)


def _bench(*tables: Table) -> Workbench:
    """With a window that is closed and emitted, and one that is open, in each of two partitions."""
    bench = Workbench(tables, 2)
    for number in range(2):
        bench.send(
            number, [(time, Sale(shop=f"s{number}", region="r", size=2)) for time in (1, 2, 12)]
        )
    bench.settle()
    return bench


@pytest.mark.parametrize("by", ["shop", "region"])
def test_another_definition(by: str) -> None:
    """Closed windows are shown as the new definition has them, and not emitted again."""
    first = Table(
        "sales",
        source=Sale,
        by=by,
        window=tumbling(10),
        columns={"events": count()},
        emit=SaleWindow,
    )
    bench = _bench(first)
    before = bench.derived(first)
    changed = table("sales", (by,), Tumbling(5, 0, 1000))
    bench.tables = [changed]
    with pytest.raises(StateRefusedError, match="rebuild"):
        bench.restart(False)
    Rebuilding(bench.log, changed, bench.sizes).run()
    bench.restart(False)
    bench.settle()
    rows = bench.rows(changed)
    keys = 2 if by == "shop" else 1
    assert sorted(row["window_start"] for row in rows) == sorted([0, 10] * keys)
    assert sum(row["size_total"] for row in rows) == 12
    bench.send(0, [(40, Sale(shop="s0", region="r"))])
    bench.send(1, [(40, Sale(shop="s1", region="r"))])
    bench.settle()
    events = [record.header("ce_id") for record in bench.log.read("sale-windows")]
    assert len(events) == len(set(events)) == len(before) + keys  # the windows [10, 15)
    bench.close()


@pytest.mark.parametrize("by", ["shop", "region"])
def test_a_new_table_is_filled_from_the_past(by: str) -> None:
    """It had emitted nothing, so the worker then emits what is closed."""
    bench = _bench(table("sales", ("shop",), tumbling(10)))
    item = table("younger", (by,), tumbling(10))
    bench.tables = [*bench.tables, item]
    Rebuilding(bench.log, item, bench.sizes).run()
    bench.restart(False)
    bench.settle()
    for each in bench.tables:
        check(bench, each)
    bench.close()


def test_from_a_later_offset() -> None:
    item = table("sales", ("shop",), None)
    bench = _bench(item)
    Rebuilding(bench.log, item, bench.sizes).run({0: 2, 1: 1})
    bench.restart(False)
    bench.settle()
    assert {row["shop"]: row["events"] for row in bench.rows(item)} == {"s0": 1, "s1": 2}
    bench.close()


@pytest.mark.parametrize("by", ["shop", "region"])
def test_a_table_with_a_time_to_live(by: str) -> None:
    """What was gone stays gone, and a key that has begun anew has only what came since."""
    item = mortal((by,), 20)
    bench = Workbench([item])
    times = (1, 2, 50, 60, 61)
    bench.send(0, [(time, Sale(shop=f"s{time % 2}", region=f"r{time % 2}")) for time in times])
    bench.settle()
    before = counted(bench.rows(item))
    Rebuilding(bench.log, item, bench.sizes, batches_max=1).run()
    bench.restart(False)
    bench.settle()
    assert counted(bench.rows(item)) == before
    assert sum(row["events"] for row in bench.rows(item)) == 3
    bench.close()


@pytest.mark.parametrize("slice_bytes", [10_000, 4 << 20])
@pytest.mark.parametrize("by", ["shop", "region"])
def test_windows_that_were_being_closed(by: str, slice_bytes: int) -> None:
    """What had been emitted of them is not emitted again, and the rest is: slice by slice, or window by window."""
    item = table("sales", (by,), Tumbling(10, 100, 1000))
    sizes = Sizes(fan_in=8, merge_bytes_max=1, slice_bytes=slice_bytes)
    keys = [Sale(shop=f"s{number}", region=f"r{number}", size=1) for number in range(6)]
    with segments_of(1):
        bench = Workbench([item], 1, sizes)
        bench.send(0, [(time, sale) for time in (1, 11, 21) for sale in keys])
        bench.settle()
        bench.send(0, [(500, keys[0])])
        seen = {0}
        for _ in range(60):
            if max(seen) == 3 * len(keys):
                break
            for here in bench.worker.partitions:
                bench.worker.step(*here)
            bench.checkpoint()
            seen.add(len(bench.derived(item)))
            with suppress(Interrupted):
                Rebuilding(bench.log, item, sizes, transactions_max=3).run()
            Rebuilding(bench.log, item, sizes).run()
            bench.restart(False)
        else:
            pytest.fail("a close never ended")
        assert len(seen) > 3, "no close was interrupted"
        bench.settle()
        check(bench, item)
        bench.close()

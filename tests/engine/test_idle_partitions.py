"""Watermarks: what holds them back, and what becomes of partials that come after their window."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine import names
from app.engine.language.table import Table
from app.engine.state.watermark import Progress, watermark
from app.engine.windows import Tumbling, tumbling
from tests.engine.sales import KEYS, Sale, sales, table, windows
from tests.engine.workbench import Workbench

PARTITIONS = 3

progresses = st.builds(Progress, st.none() | st.integers(-5, 5), st.booleans())
senders = st.dictionaries(st.integers(0, 3), progresses)


@given(previous=st.none() | st.integers(-5, 5), known=senders)
def test_watermark(previous: int | None, known: dict[int, Progress]) -> None:
    now = watermark(previous, range(4), known)
    all_of_them = [known.get(sender, Progress(None)) for sender in range(4)]
    active = [item.time for item in all_of_them if not item.idle]
    idle = [item.time for item in all_of_them if item.idle and item.time is not None]
    if None in active or not (active or idle):
        assert now == previous
    else:
        reached = min(time for time in active if time is not None) if active else max(idle)
        assert now == max(reached, previous if previous is not None else reached)
    assert previous is None or (now is not None and now >= previous)


def test_a_sender_that_was_never_heard_of_holds_all_windows_open() -> None:
    item = table("sales", ("region",), tumbling(10))
    bench = Workbench([item], 2)
    bench.send(0, [(1, Sale(shop="s")), (1000, Sale(shop="s"))])
    bench.settle()
    assert bench.derived(item) == {}
    bench.worker.processor.mark_idle("sales", 1)
    bench.settle()
    assert len(bench.derived(item)) == 1
    bench.close()


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_when_all_are_idle_the_farthest_tells_the_time(
    order: tuple[int, int], at_once: bool
) -> None:
    """In whatever order they fall silent, and whether that comes with their last events or after them."""
    item = table("sales", ("region",), tumbling(10))
    bench = Workbench([item], 2)
    bench.send(0, [(1, Sale(shop="s")), (9, Sale(shop="s"))])
    bench.send(1, [(5, Sale(shop="s")), (12, Sale(shop="s"))])
    for number in order:
        bench.read(number, 100)
    if not at_once:
        bench.settle()
    for partition in order:
        bench.worker.processor.mark_idle("sales", partition)
        if not at_once:
            bench.settle()
    bench.settle()
    assert [row["events"] for row in bench.derived(item).values()] == [3]
    bench.close()


def test_partials_that_come_after_their_window_are_told() -> None:
    item = table("sales", ("region",), tumbling(10))
    bench = Workbench([item], 2)
    bench.send(0, [(1, Sale(shop="s", region="a"))])
    bench.send(1, [(1, Sale(shop="s", region="a"))])
    bench.settle()
    bench.worker.processor.mark_idle("sales", 1)
    bench.send(0, [(100, Sale(shop="s"))])
    bench.settle()
    assert [row["events"] for row in bench.derived(item).values() if row["region"]] == [2]
    late = [Sale(shop="s", region="line\u2028end"), Sale(shop="s", region="line\u2028end")]
    bench.send(1, [(2, sale) for sale in late])
    bench.settle()
    (record,) = bench.log.read(names.late_topic("test", "sales"))
    partial = msgspec.json.decode(record.value or b"")
    assert (partial["region"], partial["_events"], partial["_pane"]) == ("line\u2028end", 2, 0)
    assert len(bench.derived(item)) == 1
    bench.close()


Step = tuple[Any, ...]
events = st.lists(st.tuples(st.integers(0, 60), sales), min_size=1, max_size=4)
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("send"), st.integers(0, PARTITIONS - 1), events),
    st.tuples(st.just("read"), st.integers(0, 20), st.integers(1, 4)),
    st.tuples(st.just("idle"), st.integers(0, PARTITIONS - 1)),
    st.sampled_from(
        [("checkpoint",), ("settle",), ("abort",), ("restart", False), ("restart", True)]
    ),
)


@settings(max_examples=40)
@given(
    by=st.sampled_from([key for key in KEYS if key != ("shop",)]),
    window=windows,
    history=st.lists(steps, min_size=10, max_size=50),
)
def test_each_event_is_counted_once_or_is_late(
    by: tuple[str, ...], window: Tumbling | None, history: list[Step]
) -> None:
    """Idle partitions make it a matter of chance which events are late, and never lose one."""
    item = table("sales", by, window)
    bench = Workbench([item], PARTITIONS)
    for name, *arguments in history:
        if name == "idle":
            bench.worker.processor.mark_idle("sales", *arguments)
        else:
            getattr(bench, name)(*arguments)
        check_watermarks(bench, item)
    bench.settle()
    for partition in range(PARTITIONS):  # close every window there is
        bench.send(partition, [(10_000, Sale(shop="last"))])
    bench.settle()
    last = [row["events"] for row in bench.rows(item) if row.get("window_start", 10_000) > 1000]
    counted = sum(row["events"] for row in bench.derived(item).values()) + sum(last)
    assert counted + late_events(bench) == sum(map(len, bench.sent))
    bench.close()


def late_events(bench: Workbench) -> int:
    """How many events are on the late topic: one for each original, or as many as a partial holds."""
    found = 0
    for record in bench.log.read(names.late_topic("test", "sales")):
        value = msgspec.json.decode(record.value or b"")
        found += value.get("_events", 1)
    return found


def check_watermarks(bench: Workbench, item: Table) -> None:
    """A watermark never goes back."""
    for part in bench.worker.processor.partitions_of(item.name):
        seen = bench.watermarks.get(part.partition)
        now = part.meta.watermark
        assert seen is None or (now is not None and now >= seen), "a watermark went back"
        if now is not None:
            bench.watermarks[part.partition] = now

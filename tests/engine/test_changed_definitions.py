"""A table that is defined otherwise than when its state was written: it follows, or is refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.aggregates import count, latest, maximum, mean, minimum, total
from app.engine.language.table import Table
from app.engine.state.definition import Migration
from app.engine.state.sizes import Sizes
from app.engine.state.store import StateRefusedError, StoreWrite
from app.engine.state.table_partition import META_KEY
from app.engine.windows import Tumbling, tumbling
from app.events import Event
from tests.engine.sales import COLUMNS, KEYS, Sale, SaleWindow, sales
from tests.engine.segments import segments_of, small_sizes
from tests.engine.workbench import Workbench, counted

OPTIONAL = sorted(COLUMNS.keys() - {"events"})


def sales_table(
    by: tuple[str, ...], window: Tumbling | None, columns: Iterable[str], **others: Any
) -> Table:
    """A table of sales with some of the aggregates, and always the number of events."""
    chosen = {name: COLUMNS[name][0] for name in ("events", *sorted(columns))}
    emit = SaleWindow if window else None
    return Table("sales", source=Sale, by=by, window=window, columns=chosen, emit=emit, **others)


@st.composite
def phases(draw: st.DrawFn) -> tuple[int, list[tuple[Any, ...]]]:
    """Of each: the columns, how the worker before it ends, and what comes into each partition."""
    partitions = draw(st.integers(1, 2))
    events = st.lists(st.tuples(st.integers(0, 60), sales), max_size=5)
    phase = st.tuples(
        st.sets(st.sampled_from(OPTIONAL), max_size=4),
        st.sampled_from(["keep", "lose", "compact", "die"]),
        st.booleans(),
        st.lists(events, min_size=partitions, max_size=partitions),
    )
    return partitions, draw(st.lists(phase, min_size=2, max_size=5))


@settings(max_examples=40)
@given(
    history=phases(),
    by=st.sampled_from(KEYS),
    window=st.none() | st.just(Tumbling(10, 5, 10_000)),
    sizes=small_sizes,
    rows_max=st.sampled_from([1, 2, 1000]),
)
def test_columns_come_and_go(
    history: tuple[int, list[tuple[Any, ...]]],
    by: tuple[str, ...],
    window: Tumbling | None,
    sizes: Sizes,
    rows_max: int,
) -> None:
    """A column counts what comes from the change on that brought it; the others know no change."""
    partitions, steps = history
    bench = Workbench([sales_table(by, window, ())], partitions, sizes, batch_records_max=1)
    since: dict[str, int] = {}
    phase_of: list[list[int]] = [[] for _ in range(partitions)]
    try:
        with segments_of(rows_max):
            for number, (columns, ending, slowly, events) in enumerate(steps):
                bench.tables = [sales_table(by, window, columns)]
                if ending == "compact":
                    bench.compact()
                bench.restart(ending == "lose")
                if (
                    ending == "die"
                ):  # with the first checkpoint, that of the change, on the changelog
                    bench.die_after_commit()
                since = {name: since.get(name, number) for name in columns}
                for partition, entries in enumerate(events):
                    bench.send(partition, entries)
                    phase_of[partition] += [number] * len(entries)
                if slowly:
                    bench.creep()
                bench.settle()
        (item,) = bench.tables
        wanted = expected_rows(item, bench.sent, phase_of, since)
        assert counted(bench.rows(item)) == counted(wanted)
        bench.restart(True)
        bench.settle()
        assert counted(bench.rows(item)) == counted(wanted)
    finally:
        bench.close()


def expected_rows(
    item: Table,
    sent: Sequence[Sequence[tuple[int, Sale]]],
    phase_of: Sequence[Sequence[int]],
    since: dict[str, int],
) -> list[dict[str, Any]]:
    """All rows, in plain Python; all windows are kept."""
    groups: dict[tuple[int, int, tuple[Any, ...]], list[dict[str, Any]]] = defaultdict(list)
    size = item.windowing.size_ms
    for number, entries in enumerate(sent):
        now = None
        for offset, (time, sale) in enumerate(entries):
            now = time if now is None else max(now, time)
            start = 0 if size is None else time - time % size
            if item.windowing.closes_at(start) > now:
                row = {**msgspec.structs.asdict(sale), "_time": time, "_offset": offset}
                row["_phase"] = phase_of[number][offset]
                key = tuple(row[name] for name in item.by)
                groups[(number if item.aligned else -1, start, key)].append(row)
    rows = []
    for (_, start, key), found in groups.items():
        row = {"window_start": start, "window_end": start + size} if size else {}
        row |= {**dict(zip(item.by, key, strict=True)), "events": len(found)}
        for name in item.columns.keys() - {"events"}:
            counts = [event for event in found if event["_phase"] >= since[name]]
            row[name] = COLUMNS[name][1](counts)
        rows.append({name: row[name] for name in item.row_schema})
    return rows


def test_partials_on_their_way_are_taken_by_the_next_definition() -> None:
    """What was sent before a change and is counted after it has the columns that both know."""
    before = sales_table(("region",), None, ["size_total", "size_min"])
    bench = Workbench([before])
    bench.send(0, [(1, Sale(shop="s", region="r", size=3))])
    bench.read(0, 1)
    bench.checkpoint()  # the partials are sent, and not counted
    columns = {"events": count(), "size_total": total("size"), "size_min": maximum("size")}
    bench.tables = [Table("sales", source=Sale, by="region", columns=columns)]
    bench.restart(False)
    bench.send(0, [(2, Sale(shop="s", region="r", size=2))])
    bench.settle()
    (row,) = bench.rows(bench.tables[0])
    assert row == {"region": "r", "events": 2, "size_total": 5, "size_min": 2}
    bench.close()


def test_partials_on_their_way_of_another_window_are_refused() -> None:
    bench = Workbench([sales_table(("region",), tumbling(10), [])])
    bench.send(0, [(1, Sale(shop="s", region="r"))])
    bench.read(0, 1)
    bench.checkpoint()
    bench.tables = [sales_table(("region",), tumbling(20), [])]
    bench.restart(False)
    with pytest.raises(StateRefusedError, match=r"still to be counted: rebuild .* rebuild sales"):
        bench.settle()
    bench.close()


def test_a_migration_is_told_until_its_checkpoint() -> None:
    bench = Workbench([sales_table(("shop",), None, ["gifts", "big"])])
    bench.send(0, [(1, Sale(shop="s"))])
    bench.settle()
    bench.tables = [sales_table(("shop",), None, ["big", "size_min"])]
    bench.restart(False)
    (item,) = bench.worker.processor.partitions_of("sales")
    assert item.migration == Migration(added=("size_min",), dropped=("gifts",))
    bench.restart(False)  # nothing was published: it is still to be done
    (item,) = bench.worker.processor.partitions_of("sales")
    assert item.migration
    assert bench.worker.processor.dirty  # without any event
    bench.settle()
    bench.restart(False)
    (item,) = bench.worker.processor.partitions_of("sales")
    assert not item.migration
    assert not bench.worker.processor.dirty
    bench.close()


def test_more_grace_opens_no_closed_window() -> None:
    """And what comes for it is late: each window is emitted once."""
    bench = Workbench([sales_table(("shop",), Tumbling(10, 0, 0), [])])
    bench.send(0, [(1, Sale(shop="s")), (12, Sale(shop="s"))])
    bench.settle()
    assert len(bench.derived(bench.tables[0])) == 1
    bench.tables = [sales_table(("shop",), Tumbling(10, 100, 0), [])]
    bench.restart(False)
    bench.send(0, [(2, Sale(shop="s")), (13, Sale(shop="s")), (200, Sale(shop="s"))])
    bench.settle()
    first, second = bench.derived(bench.tables[0]).values()
    assert (first["window_start"], first["events"]) == (0, 1)
    assert (second["window_start"], second["events"]) == (10, 2)
    assert len(bench.log.read("test.sales.late")) == 1
    bench.close()


def test_less_grace_closes_windows_at_once() -> None:
    bench = Workbench([sales_table(("shop",), Tumbling(10, 100, 0), [])])
    bench.send(0, [(1, Sale(shop="s")), (12, Sale(shop="s"))])
    bench.settle()
    assert not bench.derived(bench.tables[0])
    bench.tables = [sales_table(("shop",), Tumbling(10, 0, 0), [])]
    bench.restart(False)
    bench.send(0, [(13, Sale(shop="s"))])
    bench.settle()
    (closed,) = bench.derived(bench.tables[0]).values()
    assert (closed["window_start"], closed["events"]) == (0, 1)
    bench.close()


class Other(Event, type="test.other", topic="sales", key="shop"):
    """Beside sales on their topic."""

    shop: str
    size: float


class Largest(Event, type="test.largest", topic="sale-windows"):
    """A field that must not be null."""

    shop: str
    largest: str


WORKING: dict[str, Any] = {
    "source": Sale,
    "by": "shop",
    "window": tumbling(10),
    "columns": {"events": count(), "gifts": count(where=pl.col("gift")), "size": total("size")},
}
BIG = pl.col("size").is_in([*range(20)])
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "key": ({"by": ("shop", "region")}, r"its key was shop \(String\) and is shop .*, region"),
    "window": ({"window": tumbling(20)}, "its windows were 10 ms and are 20 ms"),
    "no window": ({"window": None}, "its windows were 10 ms and are none"),
    "ttl": ({"window": None, "ttl": "1h"}, "its ttl was none and is 3600000 ms"),
    "source": ({"source": Other, "columns": {"events": count()}}, "its source was test.sale on"),
    "aggregate": ({"columns": {"size": minimum("size")}}, r"'size' was total\('size'\) .* minimum"),
    "condition": ({"columns": {"gifts": count(where=~pl.col("gift"))}}, "'gifts' was count"),
    "null": (
        {"columns": {"largest": maximum("shop")}, "emit": Largest},
        "new column 'largest' is null for what was counted before",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_the_state_cannot_follow(changes: dict[str, Any], message: str) -> None:
    bench = Workbench([Table("sales", **WORKING)])
    bench.send(0, [(1, Sale(shop="s"))])
    bench.settle()
    bench.tables = [Table("sales", **{**WORKING, **changes})]
    with pytest.raises(StateRefusedError, match=message) as refused:
        bench.restart(False)
    assert "faust -A app rebuild sales" in str(refused.value)
    bench.tables = [Table("sales", **WORKING)]
    bench.restart(False)
    (row,) = bench.rows(bench.tables[0])
    assert row["events"] == 1
    bench.close()


def test_a_long_list_in_a_condition_counts_as_a_whole() -> None:
    def table(last: int) -> Table:
        where = pl.col("size").is_in([*range(30), last])
        return Table("sales", source=Sale, by="shop", columns={"some": count(where=where)})

    bench = Workbench([table(40)])
    bench.send(0, [(1, Sale(shop="s"))])
    bench.settle()
    bench.tables = [table(40)]
    bench.restart(False)
    bench.tables = [table(41)]
    with pytest.raises(StateRefusedError, match="'some' was count"):
        bench.restart(False)


def test_the_type_of_a_field_counts() -> None:
    def table(source: type[Event]) -> Table:
        return Table("sales", source=source, by="shop", columns={"size": total("size")})

    fields = {"__annotations__": {"shop": str, "size": float}, "__module__": __name__}
    names = {"type": "test.sale", "topic": "sales", "key": "shop"}
    wider = type(Event)("Sale", (Event,), {**fields, "__qualname__": "Sale"}, **names)
    bench = Workbench([table(Sale)])
    bench.send(0, [(1, Sale(shop="s", size=1))])
    bench.settle()
    bench.tables = [table(wider)]
    with pytest.raises(StateRefusedError, match=r"as Int64 and is total\('size'\) as Float64"):
        bench.restart(False)


def test_state_of_another_version_or_in_the_making() -> None:
    bench = Workbench([sales_table(("shop",), None, [])])
    bench.send(0, [(1, Sale(shop="s"))])
    bench.settle()
    record = bench.store.get("sales", 0, META_KEY)
    assert record is not None
    for before, after, message in [
        (b'"format":3', b'"format":2', "format 2, and this version of Headrace reads 3; rebuild"),
        (b'"rebuilding":false', b'"rebuilding":true', "'sales' is being rebuilt"),
    ]:
        changed = record.replace(before, after)
        assert changed != record
        bench.store.write([StoreWrite("sales", 0, {META_KEY: changed})])
        with pytest.raises(StateRefusedError, match=message):
            bench.restart(False)


@pytest.mark.parametrize("make", [count, total, mean, minimum, maximum, latest])
def test_nulls_add_nothing(make: Any) -> None:
    """What a segment does not have is null, and that is as if no event had counted."""
    item = Table(
        "sales",
        source=Sale,
        by="shop",
        columns={"x": make("size", where=pl.col("size") > 0) if make is not count else count()},
    )
    kinds = item.partial_schema
    frame = pl.DataFrame(
        {"shop": ["s", "s"], "region": None, "size": [4, 9], "gift": None, "_time": [5, 6]},
        schema={"shop": pl.String, "region": pl.String, "size": pl.Int64, "gift": pl.Boolean}
        | {"_time": pl.Int64},
    ).with_columns(_offset=pl.Series([0, 1]))
    counted_once = item.partial(frame)
    assert dict(counted_once.schema) == kinds
    empty = counted_once.with_columns(
        pl.lit(None, kinds[part]).alias(part) for part in item.parts["x"]
    )
    alone = item.result(item.merge([counted_once]))["x"].item()
    both = item.result(item.merge([empty, counted_once, empty]))["x"].item()
    assert both == (alone if make is not count else 6)

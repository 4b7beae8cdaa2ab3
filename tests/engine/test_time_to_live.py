"""Tables with a time to live against plain Python, whatever happens between two events."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.aggregates import count, latest
from app.engine.language.question import Question
from app.engine.language.table import Table
from app.engine.sessions import FIRST, LAST
from app.engine.state import segment
from app.engine.state.definition import DEFINITION_KEY
from app.engine.state.sizes import Sizes
from app.engine.state.table_partition import META_KEY
from app.testing import Driver
from tests.engine.batches import batch_of
from tests.engine.oracle import Entry
from tests.engine.sales import COLUMNS, KEYS, Row, Sale, mortal
from tests.engine.segments import segments_of, small_sizes
from tests.engine.test_tables_against_oracle import BASES, Step, answered, check_reads, histories
from tests.engine.workbench import Workbench, counted

RECORDS = {DEFINITION_KEY, META_KEY}
"""The keys of what is no segment."""
SHOWS = ("checkpoint", "settle", "creep", "die_after_commit", "restart")
"""After these steps a reader may see something else than before."""


def expect(
    item: Table, logs: Sequence[Sequence[Entry]]
) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    """The rows that are visible once these logs have been read, and the late events."""
    assert item.ttl_ms is not None
    ttl, step = item.ttl_ms, max(item.ttl_ms // 1000, 1)
    events: dict[tuple[int, Any], list[Row]] = defaultdict(list)
    late: list[tuple[int, int]] = []
    times: dict[int, int] = {}
    for number, entries in enumerate(logs):
        for offset, (time, sale) in enumerate(entries):
            times[number] = max(times.get(number, time), time)
            if time + ttl <= times[number]:
                late.append((number, offset))
                continue
            row = {**msgspec.structs.asdict(sale), "_time": time, "_offset": offset}
            key = tuple(row[name] for name in item.by)
            events[(number if item.aligned else -1, key)].append(row)
    rows: list[dict[str, Any]] = []
    slowest = min(times.values()) if len(times) == len(logs) else None
    for (number, key), all_of_key in events.items():
        watermark = times[number] if item.aligned else slowest
        session: list[Row] = []
        for row in sorted(all_of_key, key=lambda row: int(row["_time"])):
            if session and row["_time"] - session[-1]["_time"] >= ttl:
                session = []
            session.append(row)
        if watermark is not None and session[-1]["_time"] + ttl <= -(-watermark // step) * step:
            continue
        plain = {column: plain(session) for column, (_, plain) in COLUMNS.items()}
        rows.append({**dict(zip(item.by, key, strict=True)), **plain})
    return rows, late


def stretched(time: int, factor: int) -> int:
    """The time so many times as far from where the history begins."""
    base = max(base for base in BASES if base <= time)
    return base + (time - base) * factor


def committed(bench: Workbench) -> list[list[Entry]]:
    """What the last checkpoint has taken of each source partition."""
    return [
        entries[: bench.log.committed.get(("sales", number), (0, ""))[0]]
        for number, entries in enumerate(bench.sent)
    ]


@settings(max_examples=30)
@given(
    by=st.sampled_from(KEYS),
    ttl=st.sampled_from([1, 7, 20, 50, 3000]),
    history=histories(),
    stretch=st.sampled_from([1, 1, 100]),
    sizes=small_sizes,
    rows_max=st.sampled_from([1, 2, 1000]),
)
def test_rows_follow_from_the_log_alone(
    by: tuple[str, ...],
    ttl: int,
    history: tuple[int, list[Step]],
    stretch: int,
    sizes: Sizes,
    rows_max: int,
) -> None:
    partitions, steps = history
    item = mortal(by, ttl)
    bench = Workbench([item], partitions, sizes, batch_records_max=1)
    try:
        with segments_of(rows_max):
            for name, *arguments in steps:
                if name == "send":
                    arguments[1] = [(stretched(time, stretch), sale) for time, sale in arguments[1]]
                getattr(bench, name)(*arguments)
                # what partials are under way between two tasks is not known here
                if name in SHOWS and (item.aligned or name == "settle"):
                    expected, late = expect(item, committed(bench))
                    assert counted(bench.rows(item)) == counted(expected)
                    assert Counter(bench.late(item)) == Counter(late)
            bench.settle()
            expected, late = expect(item, bench.sent)
            assert counted(bench.rows(item)) == counted(expected)
            assert Counter(bench.late(item)) == Counter(late)
            check_reads(bench, item)
            bench.restart(lose_store=True)
            assert counted(bench.rows(item)) == counted(expected)
    finally:
        bench.close()


@given(
    times=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 100)), min_size=1, max_size=25),
    ttl=st.sampled_from([1, 3, 10, 40]),
    random=st.randoms(use_true_random=False),
)
def test_sessions_do_not_depend_on_what_is_merged_first(
    times: list[tuple[str, int]], ttl: int, random: Random
) -> None:
    item = mortal(("shop",), ttl)
    frame = batch_of([Sale(shop=shop, size=1) for shop, _ in times]).frame
    frame = frame.with_columns(pl.Series("_time", [time for _, time in times]))
    parts = []
    at = 0
    while at < len(frame):
        length = random.randint(1, 6)
        parts.append(item.partial(frame[at : at + length]))
        at += length
    while len(parts) > 1:
        random.shuffle(parts)
        count = random.randint(2, 4)
        parts = [item.merge(parts[:count]), *parts[count:]]
    sessions: list[list[Any]] = []
    for shop, time in sorted(times):
        if sessions and sessions[-1][0] == shop and time - sessions[-1][2] < ttl:
            sessions[-1][2:] = [time, sessions[-1][3] + 1]
        else:
            sessions.append([shop, time, time, 1])
    found = parts[0].select("shop", FIRST, LAST, "size_total").sort("shop", FIRST)
    assert found.rows() == [tuple(session) for session in sessions]


def test_what_a_sender_that_was_idle_brings_never_continues_a_dead_session() -> None:
    item = mortal(("shop",), 10)
    assert item.sessions is not None

    def partial(*times: int) -> pl.DataFrame:
        frame = batch_of([Sale(shop="a", size=1) for _ in times]).frame
        return item.partial(frame.with_columns(pl.Series("_time", times)))

    dead, watermark = partial(2), 22
    assert item.sessions.dead_to(watermark) == 2
    brought = pl.concat([partial(5, 14), partial(11), partial(12)])
    taken, late = item.sessions.admitted(brought, watermark)
    assert late is not None
    assert sorted(late[LAST]) == [11, 12]
    shown = [
        item.result(item.sessions.visible(item.merge(parts), watermark))["events"].to_list()
        for parts in ([taken], [dead, taken])
    ]
    assert shown == [[2], [2]]


@pytest.mark.parametrize("by", [("shop",), ("region",)], ids=["aligned", "repartitioned"])
@pytest.mark.parametrize("slice_bytes", [4 << 20, 3000])
def test_state_and_changelog_stay_bounded_with_ever_new_keys(
    by: tuple[str, ...], slice_bytes: int
) -> None:
    ttl, keys_per_ttl = 1000, 10
    columns = {"events": count(), "last": latest("region")}
    item = Table("sales", source=Sale, by=by, ttl=ttl, columns=columns)
    bench = Workbench([item], sizes=Sizes(fan_in=4, slice_bytes=slice_bytes))
    held = []
    for time in range(0, 12 * ttl, ttl // keys_per_ttl):
        bench.send(0, [(time, Sale(shop=f"shop {time}", region=f"region {time}"))])
        bench.settle()
        assert len(bench.rows(item)) == min(time * keys_per_ttl // ttl + 1, keys_per_ttl)
        held.append(rows_held(bench, item))
    assert max(held) <= 4 * keys_per_ttl, "no row is kept for more than three times its life"
    (part,) = bench.worker.processor.partitions_of(item.name)
    live = {key for key in bench.live_changelog(item, 0) if key not in RECORDS}
    assert live == set(bench.store.heads(item.name, 0)) - RECORDS
    assert live == {key for run in part.stacks.runs[0] for key in run.keys(0)}
    bench.send(0, [(10**6, Sale(shop="last", region="last"))])
    bench.settle()
    assert rows_held(bench, item) == 1
    bench.close()


def rows_held(bench: Workbench, item: Table) -> int:
    """How many rows the store holds of a table's first partition."""
    keys = [key for key in bench.store.heads(item.name, 0) if key not in RECORDS]
    return sum(len(segment.decode(value)) for value in bench.store.read(item.name, 0, keys))


def test_a_key_that_never_rests_keeps_its_whole_total() -> None:
    item = mortal(("shop",), 100)
    bench = Workbench([item], sizes=Sizes(fan_in=3, slice_bytes=1500))
    for number in range(100):
        bench.send(0, [(number * 60, Sale(shop="always")), (number * 60, Sale(shop=f"{number}"))])
        bench.settle()
    totals = {row["shop"]: row["events"] for row in bench.rows(item)}
    assert totals == {"always": 100, "98": 1, "99": 1}
    bench.close()


def test_how_it_reads() -> None:
    item = Table("sales", source=Sale, by="shop", ttl="1h", columns={"n": count()})
    assert str(item.windowing) == "no windows, ttl 1h"
    with Driver(tables=[item], partitions=2) as driver:
        driver.send(Sale(shop="a"), Sale(shop="b"), at="12:00:00")
        driver.send(Sale(shop="a"), at="12:30:00")
        driver.advance("29m")
        assert driver.rows(item).rows() == [("a", 2), ("b", 1)]
        driver.advance("1m")
        assert driver.rows(item).rows() == [("a", 2)]
        driver.send(Sale(shop="b"))
        assert driver.rows(item).rows() == [("a", 2), ("b", 1)], "b begins anew"
        driver.send(Sale(shop="b"), at="12:00:00")
        assert driver.late(item) == [Sale(shop="b")]


def test_a_read_by_key_hides_what_is_gone() -> None:
    item = mortal(("region",), 10)
    bench = Workbench([item])
    bench.send(0, [(0, Sale(shop="s", region="a")), (10, Sale(shop="s", region="b"))])
    bench.settle()
    keys = pl.DataFrame({"region": ["a", "b"]})
    assert [row["region"] for row in answered(bench, Question("sales", keys=keys))] == ["b"]
    bench.close()

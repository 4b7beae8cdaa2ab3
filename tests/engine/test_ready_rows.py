"""Rows that are kept ready for reads by key are those that a read finds, whatever happens between two checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.aggregates import count, latest
from app.engine.language.question import Key, Question, Rows
from app.engine.language.table import Table
from app.engine.reading import ready_rows
from app.engine.state.sizes import Sizes
from app.engine.windows import tumbling
from tests.engine.sales import Sale
from tests.engine.segments import segments_of, small_sizes
from tests.engine.test_tables_against_oracle import Step, histories, tables
from tests.engine.workbench import Workbench


def keys_of(bench: Workbench, table: Table) -> set[Key]:
    """The keys of all events so far, and one that nobody has sent."""
    unknown = tuple(
        {"shop": "?", "region": "?", "size": 77, "gift": True}[name] for name in table.by
    )
    sent = {
        tuple(getattr(sale, name) for name in table.by)
        for entries in bench.sent
        for _, sale in entries
    }
    return {unknown, *sent}


def read(bench: Workbench, table: Table, key: Key) -> list[Rows]:
    """What the segments say."""
    kinds = {name: table.row_schema[name] for name in table.by}
    question = Question(table.name, keys=pl.DataFrame([key], schema=kinds, orient="row"))
    pieces = bench.worker.reader.answer(question, range(bench.partitions))
    return [piece for piece in pieces if isinstance(piece, Rows) and len(piece.frame)]


def check(bench: Workbench, all_tables: Iterable[Table]) -> int:
    """Compare what is ready with what is read; how many keys were ready."""
    compared = 0
    for table in all_tables:
        for key in keys_of(bench, table):
            ready = bench.worker.reader.ready(table.name, key)
            if ready is None:
                continue
            compared += 1
            found = read(bench, table, key)
            assert len(ready) == len(found)
            for rows, expected in zip(ready, found, strict=True):
                assert rows.partition == expected.partition
                assert rows.frame.schema == expected.frame.schema
                assert rows.frame.to_dicts() == expected.frame.to_dicts()
    return compared


@settings(max_examples=40)
@given(
    tables=tables,
    ttl=st.none() | st.integers(1, 60),
    history=histories(),
    sizes=small_sizes,
)
def test_what_is_ready_is_what_is_read(
    tables: list[Table], ttl: int | None, history: tuple[int, list[Step]], sizes: Sizes
) -> None:
    if ttl is not None:
        columns = {"sales": count(), "last": latest("size")}
        tables = [*tables, Table("recent", source=Sale, by="shop", ttl=ttl, columns=columns)]
    partitions, steps = history
    bench = Workbench(tables, partitions, sizes, batch_records_max=1)
    try:
        with segments_of(2):
            for name, *arguments in steps:
                check(bench, tables)
                getattr(bench, name)(*arguments)
            bench.settle()
            check(bench, tables)
            bench.send(0, [(400, Sale(shop="shop", region="region", size=1, gift=True))])
            bench.settle()
            keys = [
                tuple(getattr(bench.sent[0][-1][1], name) for name in item.by) for item in tables
            ]
            assert check(bench, tables) >= len(keys)
    finally:
        bench.close()


def by_shop() -> Table:
    window = tumbling(10, keep=1000)
    return Table("by_shop", source=Sale, by="shop", window=window, columns={"sales": count()})


def bench_with(shops: int, table: Table) -> Workbench:
    bench = Workbench([table])
    bench.send(0, [(number, Sale(shop=f"shop {number % shops}")) for number in range(5 * shops)])
    bench.settle()
    return bench


def go_on(bench: Workbench) -> None:
    bench.send(0, [(60, Sale(shop="shop 0"))])
    bench.settle()


def test_they_are_made_from_the_checkpoint_after_the_first_read_on() -> None:
    bench = bench_with(7, by_shop())
    assert bench.worker.reader.ready("by_shop", ("shop 3",)) is None
    go_on(bench)
    (rows,) = bench.worker.reader.ready("by_shop", ("shop 3",)) or []
    assert rows.frame["window_start"].to_list() == [30, 20, 10, 0]
    assert rows.frame.equals(asyncio.run(bench.tables[0].get("shop 3")))
    assert bench.worker.reader.ready("by_shop", ("nobody",)) == []
    bench.close()


def test_a_table_that_is_not_read_any_more_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_rows, "_KEPT", 3)
    bench = bench_with(7, by_shop())
    held = bench.worker.reader._ready
    bench.worker.reader.ready("by_shop", ("shop 3",))
    for kept in (True, True, True, False):
        go_on(bench)
        assert bool(held._views) is kept
    bench.close()


def test_a_table_that_is_too_large_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ready_rows, "_REFUSED", 3)
    bench = bench_with(7, by_shop())
    held = bench.worker.reader._ready
    for bytes_max, ready in [(2000, False), (1 << 20, False), (1 << 20, False), (1 << 20, True)]:
        held._bytes_max = bytes_max
        assert bench.worker.reader.ready("by_shop", ("shop 3",)) is None
        go_on(bench)
        assert (bench.worker.reader.ready("by_shop", ("shop 3",)) is not None) is ready
        assert bool(held._views) is ready
    bench.close()


def test_keys_that_share_a_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_rows, "key_hash", lambda key: np.uint64(len(key[0])))
    monkeypatch.setattr(
        ready_rows,
        "key_hashes",
        lambda frame, keys: frame["shop"].str.len_bytes().cast(pl.UInt64).to_numpy(),
    )
    bench = bench_with(12, by_shop())
    bench.worker.reader.ready("by_shop", ("shop 3",))
    go_on(bench)
    assert check(bench, bench.tables) == 13
    assert bench.worker.reader.ready("by_shop", ("shop x",)) == [], "it has a hash of others"
    bench.close()

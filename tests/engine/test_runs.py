"""The state of a window is a stack of runs, merged by size class; store and changelog agree on it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codecs.key_hash import key_hashes
from app.engine.language.table import Table
from app.engine.state import segment
from app.engine.state.definition import DEFINITION_KEY, Definition
from app.engine.state.key_sample import KeySample
from app.engine.state.layout import Layout
from app.engine.state.segment import Head, Run
from app.engine.state.sizes import Budget, Sizes
from app.engine.state.stacks import Stacks, StackUpdate
from app.engine.state.store import Store
from app.engine.state.table_partition import META_KEY
from app.engine.windows import Tumbling, tumbling
from app.state.rocksdb_store import RocksDBStore
from tests.engine.batches import batch_of
from tests.engine.sales import Sale, mortal, sales, table
from tests.engine.segments import segments_of
from tests.engine.workbench import Workbench


@pytest.mark.parametrize("fan_in", [2, 3, 8])
def test_the_runs_of_a_window_stay_few(fan_in: int) -> None:
    item = table("sales", ("shop",), tumbling(1000))
    bench = Workbench([item], sizes=Sizes(fan_in=fan_in))
    count = 100
    for number in range(count):
        bench.send(0, [(number, Sale(shop=f"shop {number % 7}", size=number))])
        bench.settle()
        (part,) = bench.worker.processor.partitions_of("sales")
        levels = math.ceil(math.log(number + 2, fan_in)) + 1
        assert len(part.stacks.runs[0]) <= fan_in * levels
    assert sum(row["events"] for row in bench.rows(item)) == count
    assert sum(row["size_total"] for row in bench.rows(item)) == sum(range(count))
    check_live(bench, item)
    bench.close()


def test_the_merges_of_every_partition_keep_up_with_what_comes() -> None:
    """Although a checkpoint adds more than it would merge of old, and one partition more than the others."""
    item = table("sales", ("shop",), None)
    bench = Workbench([item], 3, Sizes(merge_bytes_max=1, slice_bytes=1500))
    for number in range(120):
        for partition, count in enumerate((30, 10, 10)):
            shops = range(number * count, (number + 1) * count)
            bench.send(partition, [(number, Sale(shop=f"shop {shop}")) for shop in shops])
            bench.read(partition, batches=100)
        bench.checkpoint()
        for part in bench.worker.processor.partitions_of("sales"):
            assert len(part.stacks.runs[0]) <= 4 * Sizes().fan_in
    assert len(bench.rows(item)) == 120 * (30 + 10 + 10)
    check_live(bench, item)
    bench.close()


def test_what_is_kept_of_a_small_table_is_not_much_more_than_its_rows() -> None:
    """Of a table whose merges are no builds, and whose keys are counted again and again."""
    item = table("sales", ("shop",), None)
    sizes = Sizes(segment_bytes_max=16 << 10, slice_bytes=4 << 20)
    bench = Workbench([item], sizes=sizes)
    for number in range(60):
        bench.send(0, [(number, Sale(shop=f"shop {shop}", size=number)) for shop in range(500)])
        bench.settle()
        (part,) = bench.worker.processor.partitions_of("sales")
        (runs,) = part.stacks.runs.values()
        rows = max(run.size for run in runs)
        assert sum(run.size for run in runs) <= 2 * rows + sizes.segment_bytes_max
    assert {row["events"] for row in bench.rows(item)} == {60}
    check_live(bench, item)
    bench.close()


@pytest.mark.parametrize(("step", "few"), [(0, True), (500, False)], ids=["same", "different"])
@pytest.mark.parametrize("slice_bytes", [4 << 20, 20_000], ids=["at once", "in slices"])
def test_runs_are_merged_for_what_is_twice_in_them(step: int, few: bool, slice_bytes: int) -> None:
    item = table("sales", ("shop",), tumbling(1000))
    sizes = Sizes(segment_bytes_max=16 << 10, slice_bytes=slice_bytes)
    bench = Workbench([item], sizes=sizes)
    for number in range(10):
        shops = range(number * step, number * step + 500)
        bench.send(0, [(number, Sale(shop=f"shop {shop}", size=1)) for shop in shops])
        bench.settle()
    (part,) = bench.worker.processor.partitions_of("sales")
    assert (len(part.stacks.runs[0]) <= 3) is few
    assert len(part.stacks.runs[0]) <= 10
    check_live(bench, item)
    bench.close()


def test_nothing_is_left_of_a_forgotten_window() -> None:
    item = table("sales", ("shop",), Tumbling(10, 0, 0))
    bench = Workbench([item], sizes=Sizes(fan_in=2))
    with segments_of(rows_max=1):
        for time in (1, 2, 3, 4, 5):
            bench.send(0, [(time, Sale(shop=shop)) for shop in "abc"])
            bench.settle()
        assert len(list(bench.store.heads("sales", 0))) > 3
        bench.send(0, [(1000, Sale(shop="d"))])
        bench.settle()
    (part,) = bench.worker.processor.partitions_of("sales")
    keys = part.stacks.runs[1000][0].keys(1000)
    assert list(bench.store.heads("sales", 0)) == [DEFINITION_KEY, META_KEY, *keys]
    check_live(bench, item)
    bench.close()


@pytest.mark.parametrize(
    ("shops", "runs"), [("aaa", 1), ("abc", 3)], ids=["one key", "all keys differ"]
)
def test_a_closed_window_is_kept_as_one_run_if_that_is_much_less(shops: str, runs: int) -> None:
    item = table("sales", ("shop",), Tumbling(10, 0, 100))
    bench = Workbench([item])
    for time, shop in enumerate(shops):
        bench.send(0, [(time, Sale(shop=shop))])
        bench.settle()
    bench.send(0, [(50, Sale(shop="d"))])
    bench.settle()
    (part,) = bench.worker.processor.partitions_of("sales")
    assert {pane: len(kept) for pane, kept in part.stacks.runs.items()} == {0: runs, 50: 1}
    assert part.stacks.closed == {0}
    assert sum(row["events"] for row in bench.rows(item)) == 4
    check_live(bench, item)
    bench.close()


@pytest.mark.parametrize("lose_store", [False, True])
def test_a_restart_between_two_slices_of_a_close_keeps_what_came_with_its_beginning(
    lose_store: bool,
) -> None:
    item = table("sales", ("shop",), Tumbling(10, 0, 100))
    bench = Workbench([item], sizes=Sizes(merge_bytes_max=1, slice_bytes=1500))
    for size in range(3):
        bench.send(0, [(1, Sale(shop=shop, size=size)) for shop in "abcdef"])
        bench.settle()
    bench.send(0, [(2, Sale(shop=shop, size=9)) for shop in "abcdefg"])
    bench.send(0, [(50, Sale(shop="later"))])
    bench.read(0, batches=100)
    bench.checkpoint()
    (part,) = bench.worker.processor.partitions_of("sales")
    assert part.stacks.builds[0].closes, "the close takes several checkpoints"
    check_live(bench, item)
    bench.restart(lose_store)
    bench.settle()
    assert {row["shop"]: row["size_total"] for row in bench.derived(item).values()} == {
        **dict.fromkeys("abcdef", 12),
        "g": 9,
    }
    check_live(bench, item)
    bench.close()


def test_a_window_that_must_wait_for_its_close_is_not_forgotten_even_at_time_0() -> None:
    item = table("sales", ("shop",), Tumbling(10, 0, 0))
    bench = Workbench([item], 3, sizes=Sizes(merge_bytes_max=1))
    for number in range(3):
        bench.send(number, [(0, Sale(shop="a")), (50, Sale(shop="b"))])
    bench.settle()
    assert len(bench.derived(item)) == 3
    bench.close()


def test_a_merge_in_slices_reads_each_segment_once_in_a_checkpoint() -> None:
    """Although most segments have rows in several slices."""
    item = table("sales", ("shop",), None)
    layout, sizes = Layout(item, Definition.of(item, 1)), Sizes(32 << 10, slice_bytes=16 << 10)
    stacks, store, reads = Stacks(), dict[bytes, bytes](), Counter[bytes]()

    def read(keys: list[bytes]) -> list[bytes]:
        reads.update(keys)
        return [store[key] for key in keys]

    rounds, shops = 5, 5000
    for number in range(rounds):
        update = StackUpdate(stacks, item, layout, number, sizes, Budget(1 << 30), read)
        batch = batch_of([Sale(shop=f"shop {shop}", size=number) for shop in range(shops)])
        update.append(0, item.partial(batch.frame))
        while update.stacks.builds:
            assert list(update.advance(lambda _: True)) == []
        assert set(reads.values()) <= {1}
        reads.clear()
        for key in update.deletes:
            del store[key]
        store.update(update.puts)
        stacks = update.stacks
    (runs,) = stacks.runs.values()
    frames = [segment.decode(store[key]) for run in runs for key in run.keys(0)]
    merged = item.merge([layout.read(frame) for frame in frames])
    assert sum(run.size for run in runs) > 10 * sizes.slice_bytes
    assert merged["shop"].n_unique() == len(merged) == shops
    assert set(merged["_events"]) == {rounds}


def test_a_merge_of_all_runs_never_takes_the_name_of_one_of_them() -> None:
    """Not even of the run that the small ones have become in this very checkpoint."""
    item = table("sales", ("shop",), tumbling(1000))
    partial = item.partial(batch_of([Sale(shop="a", size=1)]).frame)
    (value,) = segment.encode(partial, key_hashes(partial, item.by), 1 << 20)
    small, large = replace(Head.of(value), size=100), replace(Head.of(value), size=10_000)
    stack = (
        *(Run(1, sequence, (large,)) for sequence in (4, 8)),
        *(Run(0, sequence, (small,)) for sequence in (9, 10, 11)),
    )
    sizes = Sizes(fan_in=4, slice_bytes=20_000)
    update = StackUpdate(
        Stacks({0: stack}),
        item,
        Layout(item, Definition.of(item, 1)),
        12,
        sizes,
        Budget(1),
        lambda keys: [value] * len(keys),
    )
    update.append(0, partial)
    made = update.stacks.builds[0]
    assert len(made.sources) == 3
    assert (made.level, made.sequence) not in made.sources


@pytest.mark.parametrize("hot", [2, 4])
def test_what_is_kept_is_bounded_where_a_few_rows_are_large(hot: int) -> None:
    """The keys of these rows tell nothing then, as they are few among all."""
    item = table("sales", ("shop",), None)
    partial = item.partial(batch_of([Sale(shop="a", size=1)]).frame)
    (value,) = segment.encode(partial, key_hashes(partial, item.by), 1 << 20)
    head = Head.of(value)
    many = KeySample.of(np.random.default_rng(2).integers(0, 1 << 64, 1000, np.uint64))
    stack = (
        Run(1, 1, (replace(head, rows=1000, size=10_000),), many),
        *(
            Run(
                0,
                2 + number,
                (replace(head, rows=1, size=9000),),
                KeySample.of(key_hashes(partial, item.by)),
            )
            for number in range(hot)
        ),
    )
    update = StackUpdate(
        Stacks({0: stack}),
        item,
        Layout(item, Definition.of(item, 1)),
        12,
        Sizes(slice_bytes=20_000),
        Budget(1),
        lambda keys: [value] * len(keys),
    )
    update.append(0, partial)
    assert bool(update.stacks.builds) is (hot == 4)


def test_a_sweep_keeps_what_the_same_checkpoint_has_merged() -> None:
    """Whatever the size class of the largest run: there is a highest one, and sweeps come again and again."""
    item = mortal(("shop",), ttl=60)
    layout = Layout(item, Definition.of(item, 1))
    partial = item.partial(batch_of([Sale(shop="a", size=1)]).frame)
    (value,) = segment.encode(layout.write(partial), key_hashes(partial, item.by), 1 << 20)
    for level in range(255):
        before = Stacks({0: tuple(Run(level, number, (Head.of(value),)) for number in (4, 5, 6))})
        update = StackUpdate(
            before,
            item,
            layout,
            12,
            Sizes(segment_bytes_max=len(value)),
            Budget(1 << 30),
            lambda keys: [value] * len(keys),
            dead_to=-1,
        )
        update.append(0, partial)
        update.sweep()
        assert list(update.advance(lambda _: True)) == []
        (run,) = update.stacks.runs[0]
        assert update.puts.keys() == set(run.keys(0))
        assert set(update.deletes) == {key for old in before.runs[0] for key in old.keys(0)}


def test_a_size_class_grows_with_the_size_and_not_with_the_number_of_merges() -> None:
    item = table("sales", ("shop",), None)
    bench = Workbench([item], sizes=Sizes(segment_bytes_max=1000, slice_bytes=2000, fan_in=4))
    for number in range(80):
        bench.send(0, [(number, Sale(shop=f"shop {shop}", size=number)) for shop in range(60)])
        bench.settle()
    (part,) = bench.worker.processor.partitions_of("sales")
    (runs,) = part.stacks.runs.values()
    assert max(run.level for run in runs) <= 3
    check_live(bench, item)
    bench.close()


Step = tuple[Any, ...]
events = st.lists(st.tuples(st.integers(0, 60), sales), min_size=1, max_size=4)
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 1), events),
    st.tuples(st.just("read"), st.integers(0, 10), st.integers(1, 4)),
    st.sampled_from(
        [
            ("checkpoint",),
            ("checkpoint",),
            ("settle",),
            ("abort",),
            ("compact",),
            ("die_after_commit",),
            ("restart", False),
            ("restart", True),
        ]
    ),
)


@settings(max_examples=30)
@given(
    item=st.one_of(
        st.builds(
            table,
            st.just("sales"),
            st.sampled_from([("shop",), ("region", "gift")]),
            st.builds(Tumbling, st.just(10), st.just(5), st.sampled_from([0, 13, 1000])),
        ),
        st.builds(mortal, st.sampled_from([("shop",), ("region", "gift")]), st.just(10)),
    ),
    history=st.lists(steps, min_size=10, max_size=40),
    rows_max=st.sampled_from([1, 1000]),
    slice_bytes=st.sampled_from([1500, 8000, 20_000, 4 << 20]),
)
def test_rocksdb_holds_exactly_what_the_changelog_does(
    tmp_path_factory: pytest.TempPathFactory,
    item: Table,
    history: list[Step],
    rows_max: int,
    slice_bytes: int,
) -> None:
    path: Path = tmp_path_factory.mktemp("rocksdb")
    store: Store = RocksDBStore(path, block_cache_mb=1, write_buffer_mb=1)
    sizes = Sizes(fan_in=2, merge_bytes_max=1, slice_bytes=slice_bytes)
    bench = Workbench([item], 2, sizes, store)
    with segments_of(rows_max):
        for name, *arguments in history:
            getattr(bench, name)(*arguments)
            check_live(bench, item)
    bench.close()
    store.close()  # type: ignore[attr-defined]


def check_live(bench: Workbench, item: Table) -> None:
    """The store, a replay of the changelog, and the engine's own index hold the same segments."""
    for part in bench.worker.processor.partitions_of(item.name):
        number = part.partition
        keys = list(bench.store.heads(item.name, number))
        held = dict(zip(keys, bench.store.read(item.name, number, keys), strict=True))
        assert held == bench.live_changelog(item, number)
        stacks = part.stacks
        indexed = {
            key
            for pane, runs in [*stacks.runs.items(), *((p, (r,)) for p, r in stacks.halves.items())]
            for run in runs
            for key in run.keys(pane)
        }
        assert indexed == set(held) - {DEFINITION_KEY, META_KEY}
        ordered = {pane: tuple(sorted(runs)) for pane, runs in stacks.runs.items()}
        found = Stacks.of(bench.store.heads(item.name, number), part.meta.closed, part.meta.builds)
        assert found == replace(stacks, runs=ordered)

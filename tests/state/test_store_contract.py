"""What every store promises, held by the one in memory and by RocksDB on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.engine.state.store import STALE_AFTER_S, MissingSegmentError, Store, StoreWrite
from app.state.rocksdb_store import RocksDBStore
from app.state.uptime import Uptime
from app.testing.memory_store import MemoryStore


def open_rocksdb(path: Path) -> RocksDBStore:
    return RocksDBStore(path, block_cache_mb=1, write_buffer_mb=1)


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    if request.param == "memory":
        yield MemoryStore()
        return
    opened = open_rocksdb(tmp_path)
    yield opened
    opened.close()


PARTS = [
    (table, number) for table in ("a", "a_b", "ab", "b") for number in (0, 1, 255, 256, 65_536)
]
"""Names that begin like others, and numbers whose bytes do."""


def test_an_empty_store_holds_nothing(store: Store) -> None:
    assert list(store.heads("a", 0)) == []
    assert store.get("a", 0, b"k") is None
    assert store.changelog_offset("a", 0) is None
    assert store.read("a", 0, []) == []
    store.clear("a", 0)


def test_values_are_read_in_the_order_of_the_keys_asked_for(store: Store) -> None:
    large = bytes(range(256)) * 1000
    store.write([StoreWrite("a", 0, {b"x": b"1", b"y": b"", b"\0": large})])
    assert store.read("a", 0, [b"y", b"\0", b"x", b"y"]) == [b"", large, b"1", b""]
    assert store.get("a", 0, b"y") == b""


def test_a_missing_segment_is_named(store: Store) -> None:
    store.write([StoreWrite("orders", 3, {b"x": b"1"})])
    with pytest.raises(MissingSegmentError, match=r"'orders', partition 3.*6d6973"):
        store.read("orders", 3, [b"x", b"mis"])


def test_keys_come_in_the_order_of_their_bytes(store: Store) -> None:
    keys = [b"", b"\0", b"\0\0", b"a", b"a\0", b"b", b"\x7f", b"\xff", b"\xff\xff"]
    store.write([StoreWrite("a", 0, dict.fromkeys(reversed(keys), b"v"))])
    assert list(store.heads("a", 0)) == keys


def test_deletes_come_before_puts(store: Store) -> None:
    store.write([StoreWrite("a", 0, {b"x": b"1", b"y": b"1"})])
    store.write([StoreWrite("a", 0, {b"x": b"2"}, [b"x", b"y", b"never"])])
    assert list(store.heads("a", 0)) == [b"x"]
    assert store.get("a", 0, b"x") == b"2"


def test_later_writes_of_one_step_come_after_earlier_ones(store: Store) -> None:
    first, second = StoreWrite("a", 0, {b"x": b"1"}, [], 7), StoreWrite("a", 0, {}, [b"x"], 9)
    store.write([first, second])
    assert list(store.heads("a", 0)) == []
    assert store.changelog_offset("a", 0) == 9


def test_a_write_that_fails_changes_nothing(store: Store) -> None:
    store.write([StoreWrite("a", 0, {b"x": b"1"}, [], 1)])

    def writes() -> Iterator[StoreWrite]:
        yield StoreWrite("a", 0, {b"x": b"2", b"y": b"2"}, [], 2)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        store.write(writes())
    assert (list(store.heads("a", 0)), store.get("a", 0, b"x")) == ([b"x"], b"1")
    assert store.changelog_offset("a", 0) == 1


def test_what_is_not_settled_is_there_all_the_same(store: Store) -> None:
    store.write([StoreWrite("a", 0, {b"x": b"1"}, [], 7)], settled=False)
    store.write([StoreWrite("a", 0, {b"y": b"2"}, [b"x"], 9)], settled=False)
    assert (list(store.heads("a", 0)), store.changelog_offset("a", 0)) == ([b"y"], 9)
    store.settle()
    assert (store.read("a", 0, [b"y"]), store.changelog_offset("a", 0)) == ([b"2"], 9)
    assert not store.stale("a", 0)
    assert not store.stale("never", 0)
    assert store.age_s("never", 0) == 0


def test_the_changelog_offset_stays_where_a_write_names_none(store: Store) -> None:
    store.write([StoreWrite("a", 0, changelog_offset=0)])
    assert store.changelog_offset("a", 0) == 0
    store.write([StoreWrite("a", 0, {b"x": b"1"})])
    assert store.changelog_offset("a", 0) == 0
    store.write([StoreWrite("a", 0, changelog_offset=2**40)])
    assert store.changelog_offset("a", 0) == 2**40
    assert list(store.heads("a", 0)) == [b"x"], "the offset is no key"


def test_table_partitions_do_not_see_each_other(store: Store) -> None:
    for number, (table, partition) in enumerate(PARTS):
        text = str(number).encode()
        store.write([StoreWrite(table, partition, {b"": text, b"k" + text: text}, [], number)])
    for number, (table, partition) in enumerate(PARTS):
        text = str(number).encode()
        assert list(store.heads(table, partition)) == [b"", b"k" + text]
        assert store.get(table, partition, b"") == text
        assert store.changelog_offset(table, partition) == number
    store.clear("a", 0)
    store.clear("ab", 255)
    left = [part for part in PARTS if list(store.heads(*part))]
    assert left == [part for part in PARTS if part not in (("a", 0), ("ab", 255))]
    assert store.changelog_offset("a", 0) is None
    assert store.changelog_offset("ab", 256) is not None


def test_it_knows_which_changelog_it_holds(store: Store) -> None:
    assert store.changelog("a", 0) is None
    store.begin("a", 0, b"first")
    store.write([StoreWrite("a", 0, {b"x": b"1"}, changelog_offset=7)])
    assert (store.changelog("a", 0), store.changelog("a", 1)) == (b"first", None)
    assert list(store.heads("a", 0)) == [b"x"], "the changelog is no key"
    store.begin("a", 0, b"second")
    assert (store.changelog("a", 0), store.changelog_offset("a", 0)) == (b"second", None)
    assert list(store.heads("a", 0)) == []
    store.clear("a", 0)
    assert store.changelog("a", 0) is None


def test_live_bytes_grow_with_what_is_kept(store: Store) -> None:
    before = store.live_bytes()
    store.write([StoreWrite("a", 0, {b"x": bytes(range(256)) * 400})])
    assert store.live_bytes() >= before + 100_000


keys = st.sampled_from([b"", b"a", b"b", b"c", b"\xff"])
changes = st.builds(
    StoreWrite,
    st.sampled_from(["a", "a_b"]),
    st.integers(0, 1),
    st.dictionaries(keys, st.binary(max_size=3), max_size=3),
    st.lists(keys, max_size=3),
    st.none() | st.integers(0, 2**50),
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.lists(changes, max_size=4), max_size=8))
def test_both_stores_hold_the_same_and_rocksdb_after_reopening_too(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[StoreWrite]]
) -> None:
    path = tmp_path_factory.mktemp("rocksdb")
    memory, disk = MemoryStore(), open_rocksdb(path)
    for number, writes in enumerate(steps):
        memory.write(writes)
        disk.write(writes)
        if number % 3 == 2:
            disk.close()
            disk = open_rocksdb(path)
        assert contents(disk) == contents(memory)
    disk.close()


def contents(store: Store) -> dict[tuple[str, int], tuple[list[bytes], list[bytes], int | None]]:
    """All that a store holds of the property's table partitions."""
    return {
        part: (
            found := list(store.heads(*part)),
            store.read(*part, found),
            store.changelog_offset(*part),
        )
        for part in [("a", 0), ("a", 1), ("a_b", 0), ("a_b", 1)]
    }


def test_rocksdb_tells_how_old_it_is(tmp_path: Path) -> None:
    """By no clock that can be set: it is stale after half an hour, or once the machine was started again."""
    now = Uptime(bytes(16), 100)
    store = RocksDBStore(tmp_path, block_cache_mb=1, write_buffer_mb=1, now=lambda: now)
    store.write([StoreWrite("a", 0, {b"x": b"1"}, changelog_offset=7)])
    for seconds, boot, stale in (
        (100, 0, False),
        (100 + STALE_AFTER_S, 0, False),
        (101 + STALE_AFTER_S, 0, True),
        (100, 1, True),
    ):
        now = Uptime(bytes([boot] * 16), seconds)
        assert store.stale("a", 0) == stale, now
        assert store.changelog_offset("a", 0) == 7
    store.close()

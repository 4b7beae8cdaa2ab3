"""Tables are read from code by key, by window and as a whole, while writing goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime

import polars as pl
import pytest

from app.engine.aggregates import count, latest, total
from app.engine.language.question import Question, Rows
from app.engine.language.reads import TableKeyError
from app.engine.language.table import Table, TableNotRunningError
from app.engine.processing.checkpoint import Checkpoint
from app.engine.state.sizes import Sizes
from app.engine.state.store import MissingSegmentError
from app.engine.windows import tumbling
from tests.engine.sales import Sale
from tests.engine.segments import segments_of
from tests.engine.workbench import Workbench

COLUMNS = {"sales": count(), "size": total("size"), "last": latest("size")}


def by_shop() -> Table:
    return Table("by_shop", source=Sale, by="shop", window=tumbling(10, keep=1000), columns=COLUMNS)


def lifetime() -> Table:
    return Table("lifetime", source=Sale, by=("region", "gift"), columns=COLUMNS)


def bench_of(*tables: Table) -> Workbench:
    bench = Workbench(tables, 2, Sizes(fan_in=3, slice_bytes=3000))
    with segments_of(rows_max=2):
        for number in range(40):
            shop, region = f"shop {number % 7}", f"region {number % 3}"
            sale = Sale(shop=shop, region=region, size=number, gift=number % 2 == 0)
            bench.send(number % 7 % 2, [(number, sale)])
            bench.settle()
    return bench


async def test_the_rows_of_a_key() -> None:
    table, other = by_shop(), lifetime()
    bench = await asyncio.to_thread(bench_of, table, other)
    rows = (await table.get("shop 3")).to_dicts()
    assert [row["window_start"] for row in rows] == [30, 20, 10, 0]
    assert rows[-1] == {
        "window_start": 0,
        "window_end": 10,
        "shop": "shop 3",
        "sales": 1,
        "size": 3,
        "last": 3,
    }
    assert (await table.get("nobody")).to_dicts() == []
    numbers = [number for number in range(40) if number % 3 == 1 and number % 2 == 1]
    assert (await other.get(("region 1", False))).to_dicts() == [
        {
            "region": "region 1",
            "gift": False,
            "sales": len(numbers),
            "size": sum(numbers),
            "last": 37,
        }
    ]
    await asyncio.to_thread(bench.close)


async def test_several_keys_windows_and_all() -> None:
    table = by_shop()
    bench = await asyncio.to_thread(bench_of, table)
    found = await table.range(["shop 1", "shop 2", "shop 1", "nobody"])
    assert sorted(set(found["shop"])) == ["shop 1", "shop 2"]
    moment = datetime(1970, 1, 1, 0, 0, 0, 25_000, UTC)
    for window in (await table.window(25), await table.window(moment)):
        assert window["sales"].sum() == 10
        assert set(window["window_start"]) == {20}
    frames = [frame async for frame in table.scan()]
    assert pl.concat(frames)["size"].sum() == sum(range(40))
    frames = [frame async for frame in table.scan(25)]
    assert pl.concat(frames).sort("shop").equals((await table.window(25)).sort("shop"))
    await asyncio.to_thread(bench.close)


async def test_no_more_of_a_window_is_read_than_is_wanted() -> None:
    table = by_shop()
    bench = await asyncio.to_thread(bench_of, table)
    reader = bench.worker.reader
    for start in reader.windows(table.name):
        whole = reader.window(table.name, start).sort("shop")
        assert len(whole) <= reader.rows_at_most(table.name, start)
        for rows_max in range(12):
            some = reader.window(table.name, start, rows_max).sort("shop")
            assert len(some) == min(rows_max, len(whole))
            assert whole.join(some, on="shop", how="semi").equals(some)
    assert reader.rows_at_most(table.name, 9_990) == 0
    await asyncio.to_thread(bench.close)


async def test_a_key_is_looked_for_in_few_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those whose range and filter may hold it; one more by a false hit now and then."""
    table = Table("lifetime", source=Sale, by="shop", columns=COLUMNS)
    bench = await asyncio.to_thread(Workbench, [table], 1)
    with segments_of(rows_max=10):
        sales = [(0, Sale(shop=f"shop {number}", size=number)) for number in range(1000)]
        await asyncio.to_thread(bench.send, 0, sales)
        await asyncio.to_thread(bench.settle)
    loaded: list[bytes] = []
    read = bench.worker.store.read

    def counted(name: str, partition: int, keys: list[bytes]) -> list[bytes]:
        loaded.extend(keys)
        return read(name, partition, keys)

    monkeypatch.setattr(bench.worker.store, "read", counted)
    (part,) = bench.worker.processor.partitions_of(table.name)
    assert part.stacks.segments() >= 100
    assert (await table.get("shop 17"))["size"].to_list() == [17]
    assert 1 <= len(loaded) <= 5
    await asyncio.to_thread(bench.close)


async def test_keys_that_are_asked_for_together_are_read_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = by_shop()
    bench = await asyncio.to_thread(bench_of, table)
    reader, asked = bench.worker.reader, list[int]()
    read = reader.answer

    def counted(question: Question, partitions: Collection[int]) -> Iterator[Rows | frozenset[int]]:
        assert question.keys is not None
        asked.append(len(question.keys))
        return read(question, partitions)

    monkeypatch.setattr(reader, "answer", counted)
    keys = [f"shop {number % 7}" for number in range(500)]
    answers = await asyncio.gather(*map(table.get, keys))
    assert sum(asked) <= 14
    for key, answer in zip(keys, answers, strict=True):
        assert set(answer["shop"]) == {key}
    await asyncio.to_thread(bench.close)


async def test_reading_while_segments_are_replaced() -> None:
    table = lifetime()
    bench = await asyncio.to_thread(bench_of, table)
    stop = asyncio.Event()

    async def look() -> Sequence[int]:
        seen = []
        while not stop.is_set():
            seen.append(int((await table.get(("region 0", True)))["sales"].sum()))
        return seen

    looking = asyncio.ensure_future(look())
    for number in range(60):
        sale = Sale(shop="s", region="region 0", size=1, gift=True)
        await asyncio.to_thread(bench.send, 0, [(number, sale)])
        await asyncio.to_thread(bench.settle)
    stop.set()
    seen = await looking
    assert list(seen) == sorted(seen), "a reader saw a checkpoint and then an earlier one"
    assert (await table.get(("region 0", True)))["sales"].to_list() == [60 + 7]
    await asyncio.to_thread(bench.close)


async def test_a_read_waits_for_a_checkpoint_that_is_only_in_the_store_yet() -> None:
    """However long the event loop takes to make it the state."""
    table = lifetime()
    bench = await asyncio.to_thread(bench_of, table)
    reader, store = bench.worker.reader, bench.store
    read, refused = store.read, threading.Event()

    def replaced(name: str, partition: int, keys: Sequence[bytes]) -> list[bytes]:
        if not refused.is_set():
            refused.set()
            raise MissingSegmentError("replaced")
        if not reader._published:
            raise MissingSegmentError("replaced")
        return read(name, partition, keys)

    store.read = replaced  # type: ignore[method-assign]
    reader._published = 0
    asked = asyncio.ensure_future(table.get(("region 0", True)))
    await asyncio.to_thread(refused.wait)
    reader.published(Checkpoint({}))
    assert len(await asked) == 1
    await asyncio.to_thread(bench.close)


async def test_a_key_of_another_form_is_told() -> None:
    table, other = by_shop(), lifetime()
    bench = await asyncio.to_thread(bench_of, table, other)
    with pytest.raises(TableKeyError, match=r"a key is \(region, gift\), not 'region 1'"):
        await other.get("region 1")
    with pytest.raises(TableKeyError, match="a key is shop, not"):
        await table.get(("a", "b"))
    with pytest.raises(TableKeyError, match="shop is String, not 5"):
        await table.get(5)
    await asyncio.to_thread(bench.close)


@pytest.mark.parametrize(
    ("column", "wrong", "right"),
    [
        ("size", 1 << 63, -(1 << 63)),
        ("shop", "half \ud83d", "all \U0001f600"),
        ("sold_at", datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
async def test_a_key_that_no_column_holds_harms_nobody_else(
    column: str, wrong: object, right: object
) -> None:
    """It is refused by itself; those that are asked for at the same moment are answered."""
    table = Table("odd", source=Sale, by=column, columns={"sales": count()})
    bench = await asyncio.to_thread(Workbench, [table], 1)
    sale = Sale(**{"shop": "any", column: right})  # type: ignore[arg-type]
    await asyncio.to_thread(bench.send, 0, [(1, sale)])
    await asyncio.to_thread(bench.settle)
    refused, found = await asyncio.gather(
        table.get(wrong), table.get(right), return_exceptions=True
    )
    assert isinstance(refused, TableKeyError)
    assert isinstance(found, pl.DataFrame)
    assert found["sales"].to_list() == [1]
    await asyncio.to_thread(bench.close)


async def test_a_table_of_no_worker() -> None:
    with pytest.raises(TableNotRunningError, match="'by_shop' belongs to no running worker"):
        await by_shop().get("a")

"""Tables are read across the workers of a group: each partition once, and what is missing is told."""

from __future__ import annotations

import asyncio
from typing import Any

import polars as pl
import pytest

from app.codecs.murmur2 import partition
from app.engine.aggregates import count, total
from app.engine.language.parts_missing import PartsMissingError
from app.engine.language.question import NO_GENERATION
from app.engine.language.reads import TableReads
from app.engine.language.table import Table
from app.engine.reading.merged import merged
from app.engine.windows import tumbling
from tests.engine.group import PARTITIONS, SALES, Group, Owner, group_of
from tests.engine.sales import Sale

COLUMNS = {"sales": count(), "sum": total("size")}


def by_shop() -> Table:
    """Aligned: a key may be in any partition."""
    return Table("by_shop", source=Sale, by="shop", window=tumbling(10, keep=1000), columns=COLUMNS)


def by_size() -> Table:
    """Repartitioned: a key has one partition."""
    return Table("by_size", source=Sale, by="size", columns=COLUMNS)


def by_region() -> Table:
    """Repartitioned by a text."""
    return Table("by_region", source=Sale, by="region", columns=COLUMNS)


def three() -> tuple[Owner, Owner, Owner]:
    return Owner("a", {0, 1}), Owner("b", {2, 3}), Owner("c", {4, 5})


async def scanned(reads: TableReads) -> list[dict[str, Any]]:
    return [row async for frame in reads.scan() for row in frame.to_dicts()]


async def check_whole(group: Group, windowed: Table, keyed: Table) -> None:
    rows = await scanned(group.reads(windowed))
    starts = [row["window_start"] for row in rows]
    assert starts == sorted(starts)
    assert sum(row["sum"] for row in rows) == sum(range(SALES))
    assert len({(row["window_start"], row["shop"]) for row in rows}) == len(rows) == SALES
    assert await group.reads(windowed).windows() == list(range(SALES - 10, -1, -10))
    found = await group.reads(windowed).get("shop 3")
    assert found["window_start"].to_list() == [40, 20, 0]
    assert len(await group.reads(windowed).window(25)) == 10
    keys = await group.reads(keyed).range(range(SALES + 5))
    assert sorted(keys.rows()) == [(size, 1, size) for size in range(SALES)]
    answers = await asyncio.gather(*map(group.reads(keyed).get, range(SALES)))
    assert [answer.rows() for answer in answers] == [[(size, 1, size)] for size in range(SALES)]


async def test_all_workers_answer() -> None:
    windowed, keyed = by_shop(), by_size()
    async with group_of([windowed, keyed], three()) as group:
        await check_whole(group, windowed, keyed)
        assert group.looked == 0


async def test_a_worker_without_partitions_asks_the_others() -> None:
    windowed, keyed = by_shop(), by_size()
    async with group_of([windowed, keyed], [Owner("idle", set()), *three()]) as group:
        await check_whole(group, windowed, keyed)


async def test_a_key_is_asked_of_its_owner_alone() -> None:
    keyed = by_size()
    async with group_of([keyed], three()) as group:
        assert (await group.reads(keyed).get(7)).rows() == [(7, 1, 7)]
        asked = [numbers for owner in group.owners for _, numbers in owner.asked]
        assert len(asked) == 1
        assert len(asked[0]) == 1


async def test_rows_are_ready_only_where_a_worker_is_sure_to_have_them_all() -> None:
    windowed, text = by_shop(), by_region()
    keys = [f"region {number}" for number in range(7)]
    async with group_of([windowed, text], [Owner("a", set(range(PARTITIONS)))]) as group:
        answers, (owner,) = group.answers(), group.owners
        for table, key in [(windowed, "shop 3"), (text, keys[0])]:
            assert answers.ready(table.name, (key,)) is None, "nobody has asked for it before"
        await asyncio.to_thread(group.go_on)
        read = {key: await group.reads(text).range([key]) for key in keys}
        owner.asked.clear()
        assert len(await group.reads(windowed).get("shop 3")) == 3
        for key in keys:
            assert (await group.reads(text).get(key)).equals(read[key])
        assert not owner.asked, "these were ready"

        owner.generation = NO_GENERATION
        assert all(answers.ready(text.name, (key,)) is None for key in keys)
        owner.generation = 2
        place = {key: partition(key.encode(), PARTITIONS) for key in keys}
        owner.owns = {place[keys[0]]}
        for key in keys:
            ready = answers.ready(text.name, (key,))
            assert (ready is not None) is (place[key] in owner.owns)
            assert ready is None or ready[0].frame.equals(read[key])
        assert answers.ready(windowed.name, ("shop 3",)) is None, "it may be in any partition"


async def test_what_a_dead_worker_has_is_missing() -> None:
    windowed, keyed = by_shop(), by_size()
    async with group_of([windowed, keyed], three()) as group:
        whole = await group.reads(windowed).window(25)
        group.owners[1].alive = False
        with pytest.raises(
            PartsMissingError, match=r"of its 6 partitions: 2, 3 \(b: it is dead\)"
        ) as told:
            await group.reads(windowed).window(25)
        assert told.value.missing == {2: "b: it is dead", 3: "b: it is dead"}
        of_dead = [number for number in range(20, 30) if number % 20 % PARTITIONS in (2, 3)]
        assert len(told.value.rows) == len(whole) - len(of_dead)
        with pytest.raises(PartsMissingError):  # an aligned table's key may be anywhere
            await group.reads(windowed).get("shop 0")

        rows, lost = [], []
        for size in range(SALES):
            try:
                rows += (await group.reads(keyed).get(size)).rows()
            except PartsMissingError as error:
                lost.append((size, error.missing.keys(), len(error.rows)))
        assert len(rows) + len(lost) == SALES
        assert rows and lost
        assert all(len(missing) == 1 and missing <= {2, 3} and not n for _, missing, n in lost)
        with pytest.raises(PartsMissingError) as told:
            await group.reads(keyed).range(range(SALES))
        assert sorted(told.value.rows.rows()) == sorted(rows)

        found = []
        with pytest.raises(PartsMissingError) as told:
            async for frame in group.reads(windowed).scan():
                found += frame.to_dicts()
        assert told.value.missing.keys() == {2, 3}
        assert len(found) == SALES - sum(n % 20 % PARTITIONS in (2, 3) for n in range(SALES))


async def test_an_answer_of_an_earlier_generation_does_not_count() -> None:
    """As of a worker that was stopped while the group went on, and does not know it yet."""
    keyed = by_size()
    async with group_of([keyed], three()) as group:
        for owner in group.owners[:2]:
            owner.generation = 2
        with pytest.raises(PartsMissingError) as told:
            await group.reads(keyed).range(range(SALES))
        assert told.value.missing.keys() == {4, 5}
        # and when it is this worker that lags behind, its own part does not count
        group.owners[0].generation, group.owners[2].generation = 1, 2
        with pytest.raises(PartsMissingError) as told:
            await group.reads(keyed).range(range(SALES))
        assert told.value.missing.keys() == {0, 1}
        # nor when it is not sure of its place
        group.owners[0].generation = -1
        with pytest.raises(PartsMissingError, match="not sure of its place") as told:
            await group.reads(keyed).range(range(SALES))
        assert told.value.missing.keys() == {0, 1}


async def test_partitions_that_have_moved_are_found() -> None:
    windowed, keyed = by_shop(), by_size()
    async with group_of([windowed, keyed], three()) as group:
        group.directory = group.truth()
        group.owners[1].alive = False
        group.owners[2].owns = {2, 3, 4, 5}
        await check_whole(group, windowed, keyed)
        assert group.looked > 0
        # b lives, and has given one of its partitions to this worker
        group.owners[1].alive, group.owners[1].owns = True, {2}
        group.owners[0].owns, group.owners[2].owns = {0, 1, 3}, {4, 5}
        await check_whole(group, windowed, keyed)


async def test_a_partition_that_nobody_owns() -> None:
    keyed = by_size()
    async with group_of([keyed], three()) as group:
        group.owners[2].owns = {4}
        with pytest.raises(PartsMissingError, match=r"5 \(no worker owns it now\)"):
            await group.reads(keyed).range(range(SALES))


async def test_a_worker_that_dies_while_it_answers() -> None:
    windowed = by_shop()
    async with group_of([windowed], three()) as group:
        whole = await group.reads(windowed).window(25)
        group.directory = group.truth()
        group.owners[1].frames_max = 1  # some of its rows have come
        group.owners[2].owns = {2, 3, 4, 5}
        moved = await group.reads(windowed).window(25)
        assert sorted(moved.rows()) == sorted(whole.rows())
        group.directory, group.owners[1].owns, group.owners[2].owns = None, {2, 3}, {4, 5}
        with pytest.raises(PartsMissingError) as told:
            await group.reads(windowed).window(25)
        assert told.value.missing.keys() == {2, 3}
        shops = {f"shop {n}" for n in range(20, 30) if n % 20 % PARTITIONS in (2, 3)}
        assert not shops & set(told.value.rows["shop"])
        frames = []
        with pytest.raises(PartsMissingError) as told:
            async for frame in group.reads(windowed).scan():
                frames.append(frame)
        assert told.value.missing.keys() == {2, 3}
        rows = pl.concat(frames)
        assert len(rows.unique(["window_start", "shop"])) == len(rows)


async def test_here_reads_this_workers_partitions_alone() -> None:
    windowed = by_shop()
    async with group_of([windowed], three()) as group:
        here = TableReads(windowed, group.locals["a"])
        group.owners[1].alive = False
        rows = await scanned(here)
        assert len(rows) == sum(n % 20 % PARTITIONS in (0, 1) for n in range(SALES))
        assert len(await here.get("shop 0")) == 3
        assert len(await here.get("shop 2")) == 0


async def test_merged_iterators_stay_close_to_their_reader() -> None:
    made: list[int] = []

    async def source(first: int, fails: bool = False) -> Any:
        for number in range(first, first + 50):
            if fails and number == first + 5:
                raise ValueError("broken")
            made.append(number)
            yield number

    assert sorted([n async for n in merged([source(0), source(50)])]) == list(range(100))
    assert [n async for n in merged([])] == []
    made.clear()
    async for _ in merged([source(0), source(50)]):
        await asyncio.sleep(0)
        break
    assert len(made) < 10
    with pytest.raises(ValueError, match="broken"):
        [n async for n in merged([source(0), source(50, fails=True)])]

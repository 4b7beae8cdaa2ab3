"""Ids of what agents emit: unique, and the same however the stream is cut into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.batch_columns import OFFSET, TIME
from app.engine.language.batch import EmitError
from app.engine.processing.agent import AgentFunction, AgentRunner, Stream
from app.events import Event
from tests.engine.batches import FIRST_OFFSET, batch_of, cut
from tests.engine.sales import Sale, sales


class Noted(Event, type="test.noted", topic="noted"):
    """A derived event."""

    note: str


class Rated(Event, type="test.rated", topic="rated"):
    """One with numbers."""

    share: float
    maybe: float | None = None


class Marked(Event, type="test.marked", topic="noted"):
    """Another one, on the same topic."""

    note: str


async def by_column(stream: Stream) -> None:
    """Emits by conditions that hold in some batches only, and two events for some rows."""
    async for batch in stream:
        notes = batch.frame.with_columns(note="shop")
        large = notes.filter(pl.col("size") > 2)
        if len(large):
            batch.emit(Noted, large)
        batch.emit(Noted, pl.concat([notes, notes]).filter(pl.col("gift")))
        batch.emit(Marked, notes.filter(pl.col("price") > 0))
        batch.emit(Noted, notes)


async def by_event(stream: Stream) -> None:
    """The same for single events."""
    async for sale in stream.events():
        assert isinstance(sale, Sale)
        if sale.size is not None and sale.size > 2:
            stream.emit(Noted(note="large"))
        if sale.gift:
            stream.emit(Marked(note=sale.shop))
            stream.emit(Noted(note="gift"))
        stream.emit(Noted(note=sale.shop))


def emitted(
    function: AgentFunction, sold: Sequence[Sale], cuts: Sequence[int]
) -> dict[str, object]:
    """Type, fields and time of what the agent emits, by id. AssertionError: an id comes twice."""

    async def run() -> dict[str, object]:
        runner = AgentRunner("agent", Sale, function)
        found: dict[str, object] = {}
        for batch in cut(batch_of(sold), cuts):
            outcome = await runner.run(batch)
            assert not outcome.failures
            for item in outcome.emissions:
                for identity, time, row in zip(
                    item.ids, item.times, item.frame.rows(), strict=True
                ):
                    assert identity not in found, f"{identity} comes twice"
                    found[identity] = (item.cls, time, row)
        await runner.stop()
        return found

    return asyncio.run(run())


@pytest.mark.parametrize("function", [by_column, by_event])
@given(sold=st.lists(sales, min_size=1, max_size=12), cuts=st.lists(st.integers(0, 12), max_size=4))
def test_ids_do_not_depend_on_the_cut(
    function: AgentFunction, sold: list[Sale], cuts: list[int]
) -> None:
    assert emitted(function, sold, cuts) == emitted(function, sold, [])


def test_single_events_are_emitted_in_their_order_with_the_time_of_their_cause() -> None:
    found = emitted(by_event, [Sale(shop="a"), Sale(shop="b", size=3), Sale(shop="c")], [])
    assert list(found.values()) == [
        (Noted, FIRST_OFFSET, ("a",)),
        (Noted, FIRST_OFFSET + 1, ("large",)),
        (Noted, FIRST_OFFSET + 1, ("b",)),
        (Noted, FIRST_OFFSET + 2, ("c",)),
    ]


def test_what_is_made_from_the_whole_batch_has_an_id_and_a_time_too() -> None:
    batch = batch_of([Sale(shop="a"), Sale(shop="b")])
    batch.emit(Noted, pl.DataFrame({"note": ["x", "y"]}))
    batch.emit(Noted, pl.DataFrame({"note": ["x"]}))
    ids = [identity for item in batch.emissions for identity in item.ids]
    assert len(set(ids)) == 3
    assert {time for item in batch.emissions for time in item.times} == {FIRST_OFFSET + 1}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"other": [1]}), "Noted needs note; the frame has only other"),
        (pl.DataFrame({"note": [1]}), "Noted: note must be String, not Int64"),
        (pl.DataFrame({"note": ["a", None]}), "Noted: note is null in 1 of 2 rows"),
        (pl.DataFrame({"note": ["a"], OFFSET: [None]}), f"Noted: .*{OFFSET}"),
        (pl.DataFrame({"note": ["a"], TIME: [None]}), f"Noted: .*{TIME}"),
    ],
)
def test_what_cannot_be_emitted(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(EmitError, match=message):
        batch_of([Sale(shop="a")]).emit(Noted, frame)


def test_numbers_that_json_does_not_have() -> None:
    batch = batch_of([Sale(shop="a")])
    frame = pl.DataFrame(
        {"share": [0.5, float("nan"), float("inf")], "maybe": [1.0, float("nan"), None]}
    )
    with pytest.raises(EmitError, match="Rated: share is no finite number in 2 of 3 rows"):
        batch.emit(Rated, frame)
    batch.emit(Rated, frame[:1])


def test_an_event_of_the_wrong_type_is_the_fault_of_its_cause() -> None:
    async def numbers(stream: Stream) -> None:
        async for sale in stream.events():
            assert isinstance(sale, Sale)
            stream.emit(Noted(note=1 if sale.shop == "b" else "fine"))  # type: ignore[arg-type]

    async def run() -> None:
        runner = AgentRunner("agent", Sale, numbers)
        outcome = await runner.run(batch_of([Sale(shop=shop) for shop in "abc"]))
        await runner.stop()
        (failure,) = outcome.failures
        assert failure.row == 1
        assert failure.reason.startswith("EmitError: Noted: ")
        assert sum(len(item.frame) for item in outcome.emissions) == 2

    asyncio.run(run())

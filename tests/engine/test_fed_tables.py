"""Tables that agents feed: what is late is a matter of the log, not of batches or of calls."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.aggregates import count
from app.engine.language.table import Table
from app.engine.processing.agent import AgentFunction, AgentRunner, Stream
from app.engine.windows import Tumbling
from app.events import Event
from app.testing import Driver
from tests.engine.sales import Sale


class Part(Event, type="test.part", topic="parts"):
    """A row of the fed table; no such event is ever sent."""

    region: str


def fed(grace_ms: int = 0) -> Table:
    return Table(
        "fed",
        source=Part,
        fed_by=Sale,
        by="region",
        window=Tumbling(10, grace_ms, 10**6),
        columns={"events": count()},
    )


def by_one_update(table: Table) -> AgentFunction:
    async def agent(stream: Stream[Sale]) -> None:
        async for batch in stream:
            batch.update(table, batch.frame.filter(pl.col("region") != "c"))

    return agent


def by_several_updates(table: Table) -> AgentFunction:
    async def agent(stream: Stream[Sale]) -> None:
        async for batch in stream:
            for region in "ba":
                batch.update(table, batch.frame.filter(pl.col("region") == region))

    return agent


Outcome = tuple[list[tuple[object, ...]], int]


def outcome(
    make: Callable[[Table], AgentFunction],
    sold: list[tuple[int, str]],
    cuts: set[int],
    grace_ms: int,
) -> Outcome:
    """Rows of the table and the number of late ones, with a checkpoint after these events."""
    table = fed(grace_ms)
    with Driver(tables=[table], agents=[AgentRunner("feed", Sale, make(table))]) as driver:
        for number, (time, region) in enumerate(sold):
            driver.send(Sale(shop="s", region=region), at=time)
            if number in cuts:
                driver.checkpoint()
        rows = driver.rows(table).select("window_start", "region", "events").rows()
        return rows, len(driver.records("test.fed.late"))


def expected(sold: list[tuple[int, str]], grace_ms: int) -> Outcome:
    """The same in plain Python."""
    counts: dict[tuple[int, str], int] = {}
    late, seen = 0, 0
    for time, region in sold:
        seen, start = max(seen, time), time // 10 * 10
        if region == "c":
            continue
        if start + 10 + grace_ms <= seen:
            late += 1
        else:
            counts[start, region] = counts.get((start, region), 0) + 1
    return [(*key, number) for key, number in sorted(counts.items())], late


@pytest.mark.parametrize("make", [by_one_update, by_several_updates])
@settings(max_examples=25)
@given(
    sold=st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc")), min_size=1, max_size=12),
    cuts=st.sets(st.integers(0, 11), max_size=4),
    grace_ms=st.sampled_from([0, 7]),
)
def test_fed_tables(
    make: Callable[[Table], AgentFunction],
    sold: list[tuple[int, str]],
    cuts: set[int],
    grace_ms: int,
) -> None:
    assert outcome(make, sold, cuts, grace_ms) == expected(sold, grace_ms)


def test_rows_of_the_batch_as_a_whole() -> None:
    table = fed()

    async def agent(stream: Stream[Sale]) -> None:
        async for batch in stream:
            batch.update(table, pl.DataFrame({"region": ["all"]}))

    with Driver(tables=[table], agents=[AgentRunner("feed", Sale, agent)]) as driver:
        driver.send(Sale(shop="s"), Sale(shop="s"), at=5)
        driver.send(Sale(shop="s"), at=25)
        assert driver.rows(table).select("window_start", "events").rows() == [(20, 1)]

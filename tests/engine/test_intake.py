"""Batches whose keys nearly all differ are not grouped for a while; the table is the same."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from app.engine.aggregates import count, total
from app.engine.batch_columns import TIME
from app.engine.language.table import PANE, Table
from app.engine.processing.intake import Intake
from app.engine.windows import tumbling
from tests.engine.batches import batch_of
from tests.engine.sales import Sale

ROWS = 1200


def batch(shops: int) -> pl.DataFrame:
    """Events of so many shops."""
    events = batch_of([Sale(shop=f"shop {number % shops}", size=1) for number in range(ROWS)])
    return events.frame.with_columns(pl.lit(5, pl.Int64).alias(TIME))


@pytest.mark.parametrize(
    ("shops", "rows"),
    [(ROWS, [ROWS, ROWS]), (ROWS * 9 // 10, [ROWS * 9 // 10, ROWS]), (9, [9, 9])],
    ids=["all differ", "nearly all differ", "few"],
)
def test_what_differs_is_left_alone(shops: int, rows: list[int]) -> None:
    columns = {"sales": count(), "size": total("size")}
    table = Table("t", source=Sale, by="shop", window=tumbling(10), columns=columns)
    intake, frame = Intake(table, None), batch(shops)
    taken = [intake.take(frame).partial for _ in range(2)]
    found = [partial for partial in taken if partial is not None]
    assert [len(partial) for partial in found] == rows
    expected = table.merge([table.partial(frame), table.partial(frame)]).sort(PANE, "shop")
    assert_frame_equal(table.merge(found).sort(PANE, "shop"), expected)


def test_a_few_events_tell_nothing_of_those_that_follow() -> None:
    table = Table("t", source=Sale, by="shop", window=tumbling(10), columns={"sales": count()})
    intake = Intake(table, None)
    intake.take(batch(9)[:1])
    partial = intake.take(batch(9)).partial
    assert partial is not None
    assert len(partial) == 9
    for _ in range(40):  # and it is tried again now and then
        partial = intake.take(batch(ROWS)).partial
    partials = [intake.take(batch(9)).partial for _ in range(20)]
    assert min(len(partial) for partial in partials if partial is not None) == 9

"""What every aggregate promises; a new file in app/engine/aggregates is found and held to it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from app.engine import aggregates
from app.engine.aggregates import EVENTS, Aggregate
from app.engine.language.table import PANE, Table
from app.engine.windows import WINDOW_END, WINDOW_START, tumbling
from app.events.event import schema
from tests.engine.batches import batch_of
from tests.engine.sales import Sale, sales

Make = Callable[..., Aggregate]
FIELDS = [None, *Sale.__struct_fields__]
CONDITIONS = {
    "all": None,
    "gifts": pl.col("gift"),
    "big": pl.col("size") > 2,
    "none": pl.lit(False),
}


def factories() -> dict[str, Make]:
    """The function of each file: it has the file's name."""
    found = sorted(info.name for info in pkgutil.iter_modules(aggregates.__path__))
    return {
        name: getattr(importlib.import_module(f"{aggregates.__name__}.{name}"), name)
        for name in found
        if name != "aggregate"
    }


def working() -> Iterator[tuple[str, Aggregate]]:
    """Every aggregate over every field that it takes, under every condition."""
    for name, make in factories().items():
        takes_column = "column" in inspect.signature(make).parameters
        for field in FIELDS:
            if takes_column != (field is not None):
                continue
            for condition, where in CONDITIONS.items():
                given_field = () if field is None else (field,)
                aggregate = make(*given_field, where=where)
                try:
                    aggregate.result_type(schema(Sale))
                except ValueError:
                    continue
                yield f"{name}-{field}-{condition}", aggregate


AGGREGATES = dict(working())
each_aggregate = pytest.mark.parametrize("aggregate", AGGREGATES.values(), ids=AGGREGATES)


def table_of(aggregate: Aggregate) -> Table:
    return Table("t", source=Sale, by="shop", window=tumbling(10), columns={"value": aggregate})


def partial(table: Table, sold: Sequence[Sale]) -> pl.DataFrame:
    return table.partial(batch_of(sold).frame)


def result(table: Table, merged: pl.DataFrame) -> pl.DataFrame:
    return table.result(merged).sort(WINDOW_START, "shop")


def test_every_file_has_an_aggregate_that_works_on_something() -> None:
    assert {name.split("-")[0] for name in AGGREGATES} == set(factories())
    assert set(factories()) <= set(aggregates.__all__)


groups = st.lists(st.lists(sales, min_size=1, max_size=5), min_size=1, max_size=4)


@each_aggregate
@settings(max_examples=12)
@given(groups=groups, order=st.randoms(use_true_random=False))
def test_no_order_and_no_grouping_of_merges_changes_the_result(
    aggregate: Aggregate, groups: list[list[Sale]], order: Random
) -> None:
    table = table_of(aggregate)
    partials = [partial(table, group) for group in groups]
    at_once = result(table, table.merge(partials))
    shuffled = order.sample(partials, len(partials))
    assert result(table, table.merge(shuffled)).equals(at_once)
    from_left = reduce(lambda left, right: table.merge([left, right]), partials)
    from_right = reduce(lambda left, right: table.merge([right, left]), partials[::-1])
    assert result(table, from_left).equals(at_once)
    assert result(table, from_right).equals(at_once)


@each_aggregate
@settings(max_examples=12)
@given(groups=groups)
def test_partials_of_parts_give_what_the_whole_gives(
    aggregate: Aggregate, groups: list[list[Sale]]
) -> None:
    table = table_of(aggregate)
    whole = batch_of([sale for group in groups for sale in group])
    parts, start = [], 0
    for group in groups:
        parts.append(table.partial(whole.part(start, len(group)).frame))
        start += len(group)
    at_once = result(table, table.partial(whole.frame))
    assert result(table, table.merge(parts)).equals(at_once)


@each_aggregate
@settings(max_examples=12)
@given(sold=st.lists(sales, min_size=1, max_size=5))
def test_a_merge_leaves_what_stands_alone_as_it_is(aggregate: Aggregate, sold: list[Sale]) -> None:
    table = table_of(aggregate)
    one = partial(table, sold).sort(PANE, "shop")
    assert_frame_equal(table.merge([one]).sort(PANE, "shop"), one)


@each_aggregate
@settings(max_examples=12)
@given(sold=st.lists(sales, min_size=1, max_size=5))
def test_events_that_are_not_grouped_are_partials_of_one_event_each(
    aggregate: Aggregate, sold: list[Sale]
) -> None:
    table, frame = table_of(aggregate), batch_of(sold).frame
    singles = table.singles(frame)
    if singles is None:
        return
    one_by_one = [table.partial(frame[row]) for row in range(len(frame))]
    assert_frame_equal(singles, pl.concat(one_by_one).select(singles.columns))
    assert singles.columns == one_by_one[0].columns


@each_aggregate
def test_the_result_has_the_type_that_was_said(aggregate: Aggregate) -> None:
    table = table_of(aggregate)
    filled = Sale(shop="a", region="r", size=3, price=0.5, gift=True)
    for sold in ([Sale(shop="a")], [filled], [Sale(shop="a"), filled]):
        one = partial(table, sold)
        for merged in (one, table.merge([one, one])):
            assert dict(table.result(merged).schema) == table.row_schema
    empty = partial(table, [filled]).clear()
    assert dict(table.result(table.merge([empty, empty])).schema) == table.row_schema


@each_aggregate
def test_no_value_gives_null_or_nothing(aggregate: Aggregate) -> None:
    """Where no event has a value the result is null or zero, never an error or NaN."""
    table = Table("t", source=Sale, by="region", window=tumbling(10), columns={"value": aggregate})
    row = table.result(partial(table, [Sale(shop="")])).to_dicts()[0]
    assert row["value"] in (None, 0, 1, "")


@each_aggregate
def test_partial_columns_begin_with_the_name(aggregate: Aggregate) -> None:
    table = table_of(aggregate)
    own = set(partial(table, [Sale(shop="a")]).columns) - {PANE, "shop", EVENTS}
    assert all(name.startswith("value") for name in own)
    assert aggregate.result("value").meta.output_name() == "value"
    assert {WINDOW_START, WINDOW_END, "value"} <= set(table.row_schema)

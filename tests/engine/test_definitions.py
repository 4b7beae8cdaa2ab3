"""Definitions that cannot work are refused where they stand, with a message that names the thing."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from app.engine.aggregates import count, maximum, mean, minimum, total
from app.engine.language.table import Table
from app.engine.language.table_checks import TableDefinitionError
from app.engine.windows import tumbling
from app.events import Event, EventDefinitionError, event_type
from app.events.catalogue import Catalogue
from tests.engine.sales import Sale


class Nested(Event, type="test.nested", topic="nested"):
    """Has a list."""

    tags: list[str]


class Total(Event, type="test.total", topic="totals"):
    """Needs more than a table gives."""

    shop: str
    amount: float
    unknown: int


class WrongType(Event, type="test.wrong_type", topic="totals"):
    """Needs a whole number where the table gives a fraction."""

    amount: int


class MayBeNull(Event, type="test.may_be_null", topic="totals"):
    """Does not take the null that an optional field can lead to."""

    mean_size: float


TABLES: list[tuple[dict[str, Any], str]] = [
    ({"name": "Sales"}, "table name 'Sales'"),
    ({"name": ""}, "table name ''"),
    ({"name": "sales per shop"}, "table name 'sales per shop'"),
    ({"name": 7}, "table name 7"),
    ({"name": "s" * 101}, "table name"),
    ({"by": ()}, "table 'sales': by="),
    ({"by": ("shop", "shop")}, "table 'sales': by="),
    ({"by": "town"}, "by= names 'town', which is no field of Sale; there are: shop, region"),
    ({"columns": {}}, "columns= is empty"),
    ({"columns": {"n": 7}}, "column 'n' is 7; it must be an aggregate"),
    ({"columns": {"n": count}}, "column 'n' is <function count"),
    ({"columns": {"_n": count()}}, "column '_n' has a name that is taken or reserved"),
    ({"columns": {"shop": count()}}, "column 'shop' has a name that is taken"),
    ({"columns": {"window_start": count()}}, "column 'window_start' has a name that is taken"),
    ({"columns": {"n": total("amount")}}, "column 'n' names 'amount', which is no field of Sale"),
    ({"columns": {"n": total("shop")}}, r"column 'n': total\('shop'\) needs a number"),
    ({"columns": {"n": mean("shop")}}, r"column 'n': mean\('shop'\) needs a number"),
    (
        {"source": Nested, "by": "tags", "columns": {"n": minimum("tags")}},
        r"column 'n': minimum\('tags'\) needs values that can be compared",
    ),
    (
        {"source": Nested, "by": "tags", "columns": {"n": maximum("tags")}},
        r"column 'n': maximum\('tags'\) needs values that can be compared",
    ),
    (
        {"columns": {"n": count(where=pl.col("town") == "a")}},
        "column 'n' names 'town', which is no field of Sale",
    ),
    (
        {"columns": {"n": count(where=pl.col("size"))}},
        "column 'n': where= must be a condition, not Int64",
    ),
    (
        {"columns": {"n": total("size", where=pl.col("shop") > 5)}},
        "column 'n': where= cannot work: ",
    ),
    (
        {"ttl": "1h"},
        "table 'sales': ttl= is for tables without a window=",
    ),
    ({"window": None, "ttl": "soon"}, "table 'sales': ttl=: 'soon' is no duration"),
    ({"window": None, "ttl": 0}, "table 'sales': ttl= must be at least 1ms"),
    ({"window": None, "ttl": "1h", "emit": Total}, "table 'sales': emit= needs a window="),
    (
        {"emit": Total, "columns": {"amount": total("price")}},
        "emit=Total has the field 'unknown', which the table does not give; it gives: .*shop, amount",
    ),
    (
        {"emit": WrongType, "columns": {"amount": total("price")}},
        "emit=WrongType: field 'amount' is Int64, but the table gives Float64",
    ),
    (
        {"emit": MayBeNull, "columns": {"mean_size": mean("size")}},
        "emit=MayBeNull: field 'mean_size' can be null here",
    ),
]


@pytest.mark.parametrize(("changes", "message"), TABLES, ids=[message for _, message in TABLES])
def test_tables(changes: dict[str, Any], message: str) -> None:
    working: dict[str, Any] = {
        "name": "sales",
        "source": Sale,
        "by": "shop",
        "window": tumbling(10),
        "columns": {"events": count()},
    }
    given = {**working, **changes}
    Table(working.pop("name"), **working)
    with pytest.raises(TableDefinitionError, match=message):
        Table(given.pop("name"), **given)


def define(fields: dict[str, Any], **keywords: Any) -> type[Event]:
    """An event type made by `class Made(Event, ...)`."""
    body = {"__annotations__": fields, "__module__": __name__, "__qualname__": "Made"}
    return type(Event)("Made", (Event,), body, **keywords)  # type: ignore[no-any-return,call-overload]


TYPES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"type": None}, "Made: give both type= and topic="),
    ({}, {"topic": None}, "Made: give both type= and topic="),
    ({}, {"type": None, "topic": None}, "Made: say which type and topic it has"),
    ({}, {"type": "Made"}, "Made: type='Made' must be lower-case words"),
    ({}, {"type": "made..up"}, r"Made: type='made\.\.up' must be"),
    ({}, {"topic": "no topic"}, "Made: topic='no topic' is no Kafka topic name"),
    ({}, {"version": 0}, "Made: version=0 must be 1 or more"),
    ({}, {"key": "town"}, "Made: key='town' is not a field; there are: name"),
    ({}, {"time": "at"}, "Made: time='at' is not a field; there are: name"),
    ({"_time": int}, {}, "Made: field '_time' is reserved"),
    ({"amounts": dict[str, int]}, {}, "Made: field 'amounts' has type .* which is no column type"),
    ({"either": int | str}, {}, "Made: field 'either' has type .* which is no column type"),
]


@pytest.mark.parametrize(
    ("fields", "keywords", "message"), TYPES, ids=[message for *_, message in TYPES]
)
def test_event_types(fields: dict[str, Any], keywords: dict[str, Any], message: str) -> None:
    working = {"type": "test.made", "topic": "made"}
    assert event_type(define({"name": str}, **working)).topic == "made"
    given = {key: value for key, value in {**working, **keywords}.items() if value is not None}
    with pytest.raises(EventDefinitionError, match=message):
        define({"name": str, **fields}, **given)


def test_two_types_of_one_name() -> None:
    first = define({"name": str}, type="test.same", topic="a")
    second = define({"name": str}, type="test.same", topic="b")
    with pytest.raises(
        EventDefinitionError, match=r"two event types are named 'test.same': .*Made"
    ):
        Catalogue([first, second])
    assert list(Catalogue([first, first])) == [first]


def test_two_plain_types_on_one_topic() -> None:
    first = define({"name": str}, type="test.first", topic="a", plain=True)
    second = define({"name": str}, type="test.second", topic="a", plain=True)
    with pytest.raises(EventDefinitionError, match="topic 'a' has two plain event types"):
        Catalogue([first, second])


def test_what_is_no_event_type() -> None:
    with pytest.raises(EventDefinitionError, match="is not an event type"):
        event_type(int)  # type: ignore[arg-type]
    with pytest.raises(EventDefinitionError, match="is not an event type"):
        event_type(Event)

"""What a table's definition gives."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.aggregates import count, latest
from app.engine.language.row_sizes import check_row_sizes
from app.engine.language.table import Table
from app.engine.language.table_checks import TableDefinitionError
from app.engine.windows import tumbling
from app.events import Event
from app.testing import Driver
from tests.engine.sales import KEYS, Sale, table


@given(texts=st.lists(st.none() | st.text(alphabet="\0a\u2028", max_size=3), unique=True))
def test_no_two_keys_have_one_text(texts: list[str | None]) -> None:
    frame = pl.DataFrame({"region": pl.Series(texts, dtype=pl.String)})
    found = table("sales", ("region",), tumbling("1s")).key_text(frame)
    assert found.null_count() == 0
    assert found.n_unique() == len(texts)
    ordinary = frame.filter(~pl.col("region").str.starts_with("\0"))
    assert set(ordinary["region"]) <= set(found), "a text is placed as other producers place it"


class Visit(Event, type="test.visit", topic="visits", key="visitor"):
    """Its key may be missing, and then it may be in any partition."""

    visitor: str | None = None


def test_a_key_that_may_be_null_is_repartitioned() -> None:
    visits = Table(
        "visits", source=Visit, by="visitor", window=tumbling("1s"), columns={"visits": count()}
    )
    with Driver(tables=[visits], partitions=3) as driver:
        driver.send(*[Visit() for _ in range(6)], Visit(visitor="a"))
        rows = driver.rows(visits).select("visitor", "visits").sort("visits").rows()
        assert rows == [("a", 1), (None, 6)]


def test_only_the_key_of_the_topic_alone_is_aligned() -> None:
    aligned = {by: table("sales", by, tumbling("1s")).aligned for by in KEYS}
    assert [by for by, is_aligned in aligned.items() if is_aligned] == [("shop",)]


def test_both_zeros_are_one_key() -> None:
    frame = pl.DataFrame({"price": [0.0, -0.0]})
    found = table("sales", ("price",), tumbling("1s")).key_text(frame)
    assert found.n_unique() == 1


def test_a_row_that_no_record_could_hold_is_refused() -> None:
    texts = {f"last_{number}": latest("region") for number in range(3)}
    wide = Table("wide", source=Sale, by="shop", window=tumbling("1s"), columns=texts)
    check_row_sizes([wide], 1 << 20, 4 << 20)
    with pytest.raises(TableDefinitionError, match="'wide': a row has 4 texts of up to 1024 kB"):
        check_row_sizes([wide], 1 << 20, (4 << 20) - 1)

"""What a table's definition gives."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from app.engine.windows import tumbling
from tests.engine.sales import table


@given(texts=st.lists(st.none() | st.text(alphabet="\0a\u2028", max_size=3), unique=True))
def test_no_two_keys_have_one_text(texts: list[str | None]) -> None:
    frame = pl.DataFrame({"region": pl.Series(texts, dtype=pl.String)})
    found = table("sales", ("region",), tumbling("1s")).key_text(frame)
    assert found.null_count() == 0
    assert found.n_unique() == len(texts)
    ordinary = frame.filter(~pl.col("region").str.starts_with("\0"))
    assert set(ordinary["region"]) <= set(found), "a text is placed as other producers place it"

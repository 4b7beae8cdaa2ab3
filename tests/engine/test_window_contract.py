"""What every kind of window promises; a new file in app/engine/windows must have examples here."""

from __future__ import annotations

import pkgutil

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine import windows
from app.engine.windows import Unwindowed, Window, tumbling

EXAMPLES = {
    "tumbling": [
        tumbling(1),
        tumbling("1m", grace="10s"),
        tumbling(7, grace=3, keep=0),
        tumbling("1d", keep="30d"),
    ],
    "unwindowed": [Unwindowed(), Unwindowed(7), Unwindowed(3_600_000)],
}
each_window = pytest.mark.parametrize(
    "window", [window for examples in EXAMPLES.values() for window in examples], ids=str
)
times = st.integers(-(2**50), 2**50)


def test_every_kind_has_examples() -> None:
    assert {info.name for info in pkgutil.iter_modules(windows.__path__)} - {"window"} == set(
        EXAMPLES
    )


@each_window
@given(time=times)
def test_a_window_holds_its_times(window: Window, time: int) -> None:
    start = window.pane_of(time)
    assert window.pane_of(start) == start
    assert time < window.closes_at(start) <= window.forgotten_at(start)
    if window.size_ms is not None:
        end = start + window.size_ms
        assert start <= time < end <= window.closes_at(start)
        assert window.pane_of(end) == end, "half-open, without a gap"


@each_window
@given(moments=st.lists(times, min_size=2, max_size=2).map(sorted))
def test_stream_times_that_close_the_same_are_one(window: Window, moments: list[int]) -> None:
    before, after = moments
    pane = window.pane_of(before)
    closes = before < window.closes_at(pane) <= after
    same = window.closed_before(before) == window.closed_before(after)
    assert window.closed_before(before) <= window.closed_before(after)
    assert not (closes and same)


@each_window
@given(moments=st.lists(times, min_size=2, max_size=2).map(sorted))
def test_an_event_is_late_when_its_window_closes_or_its_life_ends(
    window: Window, moments: list[int]
) -> None:
    before, after = moments
    assert before < window.late_at(before) <= window.late_at(after)
    if window.size_ms is not None:
        assert window.late_at(before) == window.closes_at(window.pane_of(before))
    column = pl.DataFrame({"time": moments}).select(window.late_at(pl.col("time")))
    assert column.to_series().to_list() == [window.late_at(time) for time in moments]


@given(
    moments=st.lists(times, min_size=2, max_size=2).map(sorted), ttl=st.integers(1, 10_000_000_000)
)
def test_watermarks_that_count_the_same_hide_the_same_keys(moments: list[int], ttl: int) -> None:
    window = Unwindowed(ttl)
    before, after = moments
    assert window.gone_to(before) <= window.gone_to(after)
    if window.closed_before(before) == window.closed_before(after):
        assert window.gone_to(before) == window.gone_to(after)
    assert 0 <= window.gone_to(after) - (after - ttl) <= ttl // 1000, "early by a thousandth"


@each_window
@given(moments=st.lists(times, min_size=1))
def test_columns_are_placed_as_single_times_are(window: Window, moments: list[int]) -> None:
    frame = pl.DataFrame({"time": moments}, schema={"time": pl.Int64()})
    placed = frame.select(window.pane(pl.col("time"))).to_series()
    assert placed.dtype == pl.Int64
    assert placed.to_list() == [window.pane_of(time) for time in moments]


@pytest.mark.parametrize(
    ("size", "grace", "message"),
    [
        (0, 0, "at least 1ms"),
        ("1 minute", 0, "'1 minute' is no duration"),
        ("1m", "soon", "'soon' is no duration"),
        (-5, 0, "-5 is no duration"),
        (1.5, 0, "1.5 is no duration"),
        (True, 0, "True is no duration"),
        ("", 0, "'' is no duration"),
    ],
)
def test_sizes_that_cannot_work(size: str | int, grace: str | int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tumbling(size, grace=grace)

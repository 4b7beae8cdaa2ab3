"""How tests write moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.testing.moment import Moment, milliseconds_of

START = 1_704_067_200_000  # 2024-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("moment", "after_start_ms"),
    [
        ("12:00:05", 43_205_000),
        ("00:00", 0),
        ("00:00:00.250", 250),
        ("2024-01-02T00:00:00", 86_400_000),
        ("2024-01-01T01:00:00+01:00", 0),
        ("2023-12-31T23:59:59.999Z", -1),
        (datetime(2024, 1, 1, 1), 3_600_000),
        (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-1))), 3_600_000),
        (datetime(2024, 1, 1, tzinfo=UTC), 0),
        (timedelta(seconds=1.5), 1_500),
        (-timedelta(seconds=1), -1_000),
        (START + 7, 7),
    ],
)
def test_moments(moment: Moment, after_start_ms: int) -> None:
    assert milliseconds_of(moment, START) - START == after_start_ms


@pytest.mark.parametrize("moment", ["noon", "25:00", "2024-13-01T00:00:00", "", True])
def test_what_is_no_moment(moment: Moment) -> None:
    with pytest.raises(ValueError, match="no moment"):
        milliseconds_of(moment, START)

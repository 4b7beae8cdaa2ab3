"""Event times that no clock has shown: such an event is a dead letter, and nothing else is harmed."""

from __future__ import annotations

import pytest

from app.engine.aggregates import count
from app.engine.language.table import Table
from app.engine.windows import tumbling
from app.events import Event
from app.testing import Driver


class Measured(Event, type="test.measured", topic="measures", key="sensor", time="at"):
    """Has its time in a field, which a broken sensor may leave out."""

    sensor: str
    at: int | None = None


measures = Table(
    "measures", source=Measured, by="sensor", window=tumbling("1s"), columns={"events": count()}
)

YEAR_10000 = 253_402_300_800_000
YEAR_1 = -62_135_596_800_000


@pytest.mark.parametrize("at", [None, YEAR_10000, YEAR_1 - 1, 2**63 - 1, -(2**63)])
def test_an_impossible_time_is_a_dead_letter(at: int | None) -> None:
    with Driver(tables=[measures]) as driver:
        for time in (5, at, 6, at):
            driver.send(Measured(sensor="a", at=time))
        assert driver.rows(measures)["events"].to_list() == [2]
        letters = driver.dead_letters()
        assert [(letter.stage, letter.offset) for letter in letters] == [
            ("decode", 1),
            ("decode", 3),
        ]
        assert {letter.reason for letter in letters} == {
            f"event time {at} ms is not between the years 1 and 9999"
        }


@pytest.mark.parametrize("at", [YEAR_1, -1, 0, YEAR_10000 - 1])
def test_the_first_and_the_last_time(at: int) -> None:
    with Driver(tables=[measures]) as driver:
        driver.send(Measured(sensor="a", at=at))
        assert driver.rows(measures)["window_start"].to_list() == [at // 1000 * 1000]
        assert driver.dead_letters() == []


def test_record_timestamps_are_held_to_it_too() -> None:
    with Driver(
        tables=[
            Table(
                "plain", source=Plain, by="name", window=tumbling("1s"), columns={"events": count()}
            )
        ]
    ) as driver:
        driver.send(Plain(name="a"), at=5)
        driver.send(Plain(name="a"), at=2**61)
        assert driver.rows("plain")["events"].to_list() == [1]
        assert len(driver.dead_letters()) == 1


class Plain(Event, type="test.plain", topic="plain", key="name"):
    """Has its record's timestamp."""

    name: str

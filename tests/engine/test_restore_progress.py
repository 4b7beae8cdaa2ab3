"""How far a restore is, by a clock that the tests set."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.engine.reading.restore_progress import RestoreProgress


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> RestoreProgress:
    return RestoreProgress(clock)


def test_nothing_is_restored_before_it_begins_and_after_its_end(progress: RestoreProgress) -> None:
    assert progress.tables() == []
    progress.begin({("sales", 0): (0, 10)})
    assert progress.of("sales") is not None
    assert progress.of("other") is None
    progress.end()
    assert progress.tables() == []


def test_shares_are_of_each_table_and_the_time_of_all(
    progress: RestoreProgress, clock: Clock
) -> None:
    progress.begin({("sales", 0): (500, 1000), ("sales", 1): (0, 300), ("visits", 0): (0, 200)})
    assert [item.seconds_left for item in progress.tables()] == [None, None]
    clock.now_s += 2
    progress.advance("sales", 0, 700, 3_000)
    progress.advance("visits", 0, 200, 1_000)
    sales, visits = progress.tables()
    assert (sales.table, sales.partitions, sales.done, sales.total) == ("sales", (0, 1), 200, 800)
    assert (sales.percent, sales.size) == (25, 3_000)
    assert (visits.partitions, visits.percent) == ((), 100)
    # 400 offsets in 2 s, 600 are left
    assert sales.seconds_left == visits.seconds_left == pytest.approx(3.0)
    assert sales.bytes_per_second == pytest.approx(2_000)


def test_the_time_left_follows_the_rate_of_the_last_seconds(
    progress: RestoreProgress, clock: Clock
) -> None:
    progress.begin({("sales", 0): (0, 100_000)})
    position = 0
    for _ in range(10):  # a compacted beginning: many offsets, few records
        clock.now_s += 1
        position += 5_000
        progress.advance("sales", 0, position, 10)
    for _ in range(20):
        clock.now_s += 1
        position += 100
        progress.advance("sales", 0, position, 1_000)
    (sales,) = progress.tables()
    assert sales.seconds_left == pytest.approx((100_000 - position) / 100)
    assert sales.bytes_per_second == pytest.approx(1_000)


def test_a_restore_that_stands_still_takes_ever_longer(
    progress: RestoreProgress, clock: Clock
) -> None:
    progress.begin({("sales", 0): (0, 1_000)})
    clock.now_s += 1
    progress.advance("sales", 0, 500, 10)
    found = []
    for _ in range(3):
        clock.now_s += 10
        (sales,) = progress.tables()
        found.append(sales.seconds_left)
    assert found == sorted(set(found))


def test_what_is_done_is_never_more_than_all(progress: RestoreProgress, clock: Clock) -> None:
    progress.begin({("sales", 0): (0, 1_000)})
    clock.now_s += 1
    progress.advance("sales", 0, 1_003, 10)  # behind the end that was asked for
    (sales,) = progress.tables()
    assert (sales.percent, sales.seconds_left) == (100, 0.0)

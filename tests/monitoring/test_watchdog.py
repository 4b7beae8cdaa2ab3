"""The watchdog, with a clock that only moves when told to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.monitoring.watchdog import EXIT_CODE, Stall, TopicPartition, Watchdog

STALL_MS_MAX = 60_000
ORDERS: TopicPartition = ("orders", 0)
PAGES: TopicPartition = ("pages", 3)


class Worker:
    """A worker as the watchdog sees it, observed every five seconds."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.watchdog = Watchdog(STALL_MS_MAX, clock=lambda: self.now_s)
        self.assigned = True
        self.positions = {ORDERS: 10, PAGES: 20}
        self.lags = {ORDERS: 5, PAGES: 0}
        self.waiting: dict[TopicPartition, int] = {}
        self.last_error: str | None = None

    def observe(self) -> Stall | None:
        return self.watchdog.observe(
            assigned=self.assigned,
            positions=self.positions,
            lags=self.lags,
            waiting=self.waiting,
            last_error=self.last_error,
        )

    def run(self, seconds: float) -> Stall | None:
        """The first verdict within so many seconds, if there is one."""
        end_s = self.now_s + seconds
        verdict = self.observe()
        while verdict is None and self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + 5)
            verdict = self.observe()
        return verdict


def test_no_progress_with_lag_is_a_stall() -> None:
    worker = Worker()
    worker.last_error = "broker gone\nfor good"
    assert worker.run(59.9) is None
    stall = worker.run(0.1)
    assert str(stall) == (
        "no progress although there is work: orders[0] at offset 10, lag 5, for 60 s; "
        "last checkpoint error: broker gone for good"
    )
    assert EXIT_CODE == 70


def test_progress_starts_the_time_anew() -> None:
    worker = Worker()
    for _ in range(5):
        assert worker.run(55) is None
        worker.positions[ORDERS] += 1
    assert worker.run(59) is None


def test_going_back_is_no_stall() -> None:
    worker = Worker()
    assert worker.run(55) is None
    worker.positions[ORDERS] = 3
    assert worker.run(55) is None


def test_without_lag_nothing_is_expected() -> None:
    worker = Worker()
    worker.lags = {ORDERS: 0, PAGES: 0}
    assert worker.run(600) is None
    worker.lags[ORDERS] = 1
    assert worker.run(59) is None
    assert worker.run(1) is not None


def test_a_partition_that_is_not_even_read_is_a_stall() -> None:
    worker = Worker()
    del worker.lags[PAGES]
    for _ in range(11):
        worker.positions[ORDERS] += 1
        assert worker.run(5) is None
    stall = worker.run(5)
    assert "pages[3] at offset 20, not read, for 60 s" in str(stall)


def test_a_take_over_that_does_nothing_is_a_stall() -> None:
    worker = Worker()
    worker.lags = {ORDERS: 0, PAGES: 0}
    worker.positions.pop(PAGES)
    for step in range(50):
        worker.waiting = {PAGES: step}
        assert worker.run(50) is None
    assert worker.run(5) is None
    stall = worker.run(5)
    assert "pages[3] not taken over, for 60 s" in str(stall)


def test_what_has_just_been_taken_over_has_its_full_time() -> None:
    worker = Worker()
    worker.lags = {ORDERS: 0, PAGES: 1}
    worker.positions.pop(PAGES)
    worker.waiting = {PAGES: 20}
    assert worker.run(55) is None
    worker.waiting, worker.positions[PAGES] = {}, 20
    assert worker.run(59) is None


def test_unassigned_nothing_is_expected() -> None:
    worker = Worker()
    worker.assigned = False
    assert worker.run(600) is None
    worker.assigned = True
    assert worker.run(59) is None
    assert worker.run(1) is not None


def test_one_partition_stands_still_while_another_goes_on() -> None:
    worker = Worker()
    worker.lags[PAGES] = 7
    verdict = None
    for _ in range(13):
        worker.positions[ORDERS] += 100
        verdict = verdict or worker.run(5)
    assert verdict is not None
    assert [(item.topic, item.partition) for item in verdict.partitions] == [PAGES]


def test_a_partition_that_went_and_came_back_has_its_full_time() -> None:
    worker = Worker()
    assert worker.run(55) is None
    orders = worker.positions.pop(ORDERS)
    assert worker.run(5) is None
    worker.positions[ORDERS] = orders
    assert worker.run(59) is None


def test_a_process_that_was_stopped_has_its_full_time() -> None:
    worker = Worker()
    assert worker.run(55) is None
    worker.now_s += 3600
    assert worker.run(59) is None
    assert worker.run(1) is not None


def test_time_in_which_the_cluster_is_away_does_not_count() -> None:
    worker = Worker()
    assert worker.run(50) is None
    assert worker.watchdog.standing(50_000) == [ORDERS]
    assert worker.watchdog.standing(50_001) == []
    worker.watchdog.excuse([ORDERS, ("gone", 1)])
    assert worker.watchdog.standing(1) == []
    assert worker.run(59) is None
    assert worker.run(1) is not None


def test_a_partition_whose_leader_is_away_does_not_excuse_another() -> None:
    worker = Worker()
    worker.lags[PAGES] = 7
    assert worker.run(55) is None
    worker.watchdog.excuse([PAGES])
    verdict = worker.run(5)
    assert verdict is not None
    assert [(item.topic, item.partition) for item in verdict.partitions] == [ORDERS]


def test_many_partitions_are_told_in_one_line() -> None:
    worker = Worker()
    worker.positions = {("t", number): 1 for number in range(100)}
    worker.lags = dict.fromkeys(worker.positions, 1)
    text = str(worker.run(60))
    assert "and 95 more" in text
    assert "\n" not in text
    assert "last checkpoint error: none" in text


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=60))
def test_a_verdict_needs_a_whole_minute_of_lag_without_progress(
    steps: list[tuple[bool, bool, bool]],
) -> None:
    worker = Worker()
    worker.positions, idle_since_s = {ORDERS: 0}, worker.now_s
    for assigned, lagging, moves in steps:
        worker.now_s += 5
        worker.assigned = assigned
        worker.lags = {ORDERS: int(lagging)}
        worker.positions[ORDERS] += moves
        if not assigned or not lagging or moves or worker.watchdog is None:
            idle_since_s = worker.now_s
        if worker.observe() is not None:
            assert worker.now_s - idle_since_s >= 60

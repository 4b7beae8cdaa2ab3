"""Libraries do not repeat themselves; our own lines are never held back."""

from __future__ import annotations

import logging

from app.monitoring.log_repeats import LINES_KEPT_MAX, RepeatFilter


class Log:
    """A filter with a clock that only moves when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.filter = RepeatFilter(["aiokafka"], clock=lambda: self.now_s)

    def say(self, text: str, name: str = "aiokafka.cluster") -> int | None:
        """None: held back; else how many were held back before."""
        record = logging.LogRecord(name, logging.ERROR, "", 0, "%s", (text,), None)
        return getattr(record, "repeated", 0) if self.filter.filter(record) else None


def test_repeats_are_held_back_and_counted() -> None:
    log = Log()
    assert log.say("down") == 0
    assert [log.say("down") for _ in range(5)] == [None] * 5
    assert log.say("other") == 0
    log.now_s = 10
    assert log.say("down") == 5
    log.now_s = 20
    assert log.say("down") == 0


def test_our_own_lines_may_repeat() -> None:
    log = Log()
    assert [log.say("same", "app.kafka") for _ in range(3)] == [0, 0, 0]


def test_memory_is_bounded() -> None:
    log = Log()
    for number in range(3 * LINES_KEPT_MAX):
        assert log.say(str(number)) == 0
    assert len(log.filter._lines) <= LINES_KEPT_MAX

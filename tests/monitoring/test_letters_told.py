"""However many dead letters there are, the log has a line of each kind now and then, with all of them counted."""

from __future__ import annotations

import pytest

from app.monitoring import letters_told
from app.monitoring.letters_told import TELL_S_MIN, LettersTold
from tests.captured_log import captured_log

DECODE = {"topic": "orders", "reason": "malformed"}
AGENT = {"topic": "orders", "reason": "ValueError: no", "agent": "flag"}


def test_a_line_of_each_kind_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = captured_log(monkeypatch, letters_told)
    now = 1000.0
    told = LettersTold(lambda: now)
    for _ in range(3):
        told.add("invalid_json", DECODE)
        told.add("agent", AGENT)
    now += TELL_S_MIN
    told.add("invalid_json", DECODE)
    assert [(line["reason"], line.get("agent"), line["events"]) for line in lines] == [
        ("malformed", None, 1),
        ("ValueError: no", "flag", 1),
        ("malformed", None, 3),
    ]
    assert {line["event"] for line in lines} == {"events.dead_lettered"}

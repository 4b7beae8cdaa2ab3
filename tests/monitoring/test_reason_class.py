"""The classes follow from the reasons that the decoder really gives."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest

from app.codecs.json_msgspec import MsgspecDecoder
from app.monitoring.reason_class import REASON_CLASSES, reason_class


class Order(msgspec.Struct):
    id: str
    amount: float
    count: int = 0
    at: datetime | None = None


REJECTED = [
    (b"{", "invalid_json"),
    (b"", "invalid_json"),
    (b'{"id": "a", "amount": 1} x', "invalid_json"),
    (b'{"id": "a", "amount": 01}', "invalid_json"),
    (b'{"id": "a"}', "missing_field"),
    (b'{"id": 1, "amount": 1}', "wrong_type"),
    (b'{"id": "a", "amount": "1"}', "wrong_type"),
    (b'{"id": "a", "amount": 1, "at": "x"}', "wrong_type"),
    (b'{"id": "a", "amount": 1, "count": 9223372036854775808}', "wrong_type"),
    (b"[1]", "wrong_type"),
    (b'{"id": "\xff", "amount": 1}', "invalid_utf8"),
    (b'{"id": "' + b"a" * 2000 + b'", "amount": 1}', "too_long"),
    (b'{"id": ' + b"[" * 20 + b"]" * 20 + b"}", "too_deep"),
    (None, "null_value"),
]


@pytest.mark.parametrize(("value", "expected"), REJECTED)
def test_decode_reasons(value: bytes | None, expected: str) -> None:
    (reason,) = MsgspecDecoder(Order, value_bytes_max=1000, depth_max=8).decode([value])
    assert isinstance(reason, str)
    assert reason_class("decode", reason) == expected, reason


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("unknown event type 'x'", "unknown_type"),
        ("CloudEvents envelope: unknown event type 'x'", "unknown_type"),
        ("no ce_type header, and no type of the topic is plain=True", "unknown_type"),
        ("CloudEvents envelope: null value", "null_value"),
        ("CloudEvents envelope: value is too long", "too_long"),
        ("CloudEvents envelope: Object missing required field `id`", "missing_field"),
        ("RuntimeError: a hook of the user", "other"),
    ],
)
def test_other_reasons(reason: str, expected: str) -> None:
    assert reason_class("decode", reason) == expected


def test_agents_are_a_class_of_their_own() -> None:
    assert reason_class("agent", "ValueError: JSON is malformed") == "agent"


def test_all_classes_are_listed() -> None:
    assert len(set(REASON_CLASSES)) == len(REASON_CLASSES)
    assert {"agent", "other"} < set(REASON_CLASSES)

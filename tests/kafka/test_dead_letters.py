"""A poison corpus on a real broker: each bad event stands in the dead letters, the rest goes on."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from confluent_kafka import Message, Producer

from app.engine import names
from tests.kafka.running_job import Job
from tests.kafka.sales import POISON, Model

pytestmark = pytest.mark.kafka

GOOD = b'{"user":"u","sequence":1,"amount":5,"country":"DE","at":1790000000000}'
CORPUS: dict[str, tuple[bytes | None, list[tuple[str, bytes]], str]] = {
    "invalid JSON": (b'{"user":"u","sequence":', [], "truncated"),
    "no JSON at all": (b"\x00\x01\x02", [], "JSON"),
    "wrong type": (GOOD.replace(b"5", b'"five"'), [], "$.amount"),
    "missing field": (b'{"user":"u","sequence":1,"amount":5,"at":1}', [], "`country`"),
    "bad UTF-8": (GOOD.replace(b'"DE"', b'"\xff\xfe"'), [], ""),
    "unknown type": (GOOD, [("ce_type", b"no.such.type")], "no.such.type"),
    "too deep": (GOOD[:-1] + b',"x":' + b"[" * 500 + b"]" * 500 + b"}", [], "deep"),
    "too long": (GOOD[:-1] + b',"x":"' + b"y" * 300_000 + b'"}', [], "limit"),
    "null value": (None, [], "null"),
    "empty value": (b"", [], ""),
    "envelope without type": (
        b"{}",
        [("content-type", b"application/cloudevents+json")],
        "envelope",
    ),
    "integer beyond 64 bits": (GOOD.replace(b"5", b"1" * 25), [], ""),
}


def test_poison_corpus(broker: str, tmp_path: Path) -> None:
    job = Job(broker, tmp_path)
    with job.worker() as item:
        sales = job.first_sales(item, seed=2)
        sales.write(500)
        sales.flush()
        producer = Producer({"bootstrap.servers": broker})
        for name, (value, headers, _) in CORPUS.items():
            marked = [*headers, ("corpus", name.encode())]
            producer.produce(job.sources[0], value, name, headers=marked)
        assert producer.flush(30) == 0
        sales.write(500)
        sales.flush()
        sales.close_windows(4)
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert item.stop() == 0
    letters = job.cluster.read(names.dead_letter_topic(job.app_id))
    found = {_header(letter, "corpus"): letter for letter in letters}
    assert set(found) == set(CORPUS)
    assert len(letters) == len(CORPUS)
    for name, (value, _, reason) in CORPUS.items():
        letter = found[name]
        assert letter.value() == value, name
        assert letter.key() == name.encode()
        assert reason in _header(letter, "headrace_reason"), (
            name,
            _header(letter, "headrace_reason"),
        )
        assert _header(letter, "headrace_stage") == "decode"
        assert _header(letter, "headrace_topic") == job.sources[0]
        assert int(_header(letter, "headrace_offset")) >= 0
    passed = job.cluster.read_json(job.topic("passed"))
    assert sorted(row["sequence"] for row in passed) == sorted(sales.amounts)


def test_an_agent_that_fails(broker: str, tmp_path: Path) -> None:
    """The events that it fails on are found and told; the tables count them, and the rest goes on."""
    job = Job(broker, tmp_path)
    with job.worker() as item:
        sales = job.first_sales(item, seed=3)
        sales.write(2000)
        first = sales.sequence
        sales.write(3, amount=POISON)
        poisoned = set(range(first, sales.sequence))
        sales.write(2000)
        sales.flush()
        sales.close_windows(4)
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert item.stop() == 0
    letters = job.cluster.read(names.dead_letter_topic(job.app_id))
    assert {orjson.loads(letter.value() or b"")["sequence"] for letter in letters} == poisoned
    assert len(letters) == len(poisoned)
    for letter in letters:
        assert _header(letter, "headrace_agent") == "pass_on"
        assert _header(letter, "headrace_reason") == "ValueError: poison"
        assert _header(letter, "headrace_attempts") == "3"
        assert "Traceback" in _header(letter, "headrace_traceback")
    passed = {row["sequence"] for row in job.cluster.read_json(job.topic("passed"))}
    assert passed == set(sales.amounts) - poisoned
    users = {
        (row["user"], row["window_start"]): (row["sales"], row["amount"], row["largest"])
        for row in job.cluster.read_json(job.topic("user-totals"))
    }
    assert users == Model(job.cluster.read_json(job.sources[0])).users


def _header(message: Message, name: str) -> str:
    return dict(message.headers() or [])[name].decode()

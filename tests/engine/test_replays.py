"""Dead letters that are put back: read by those who have not had them, and by nobody else."""

from __future__ import annotations

from collections import Counter

import msgspec
import polars as pl
import pytest

from app.codecs.record_batch import Fetch
from app.engine import names
from app.engine.aggregates import count, total
from app.engine.language.table import Table
from app.engine.processing.agent import AgentRunner
from app.engine.processing.replay import DeadLetter
from app.engine.processing.source import Limits
from app.engine.processing.sources import sources
from app.engine.windows import tumbling
from app.events import Event
from app.events.catalogue import Catalogue
from app.testing import Driver
from tests.codecs.record_batches import Record, build_batch

CE_TYPE = ("ce_type", b"test.paid")
START_MS = 1_790_000_000_000


class Paid(Event, type="test.paid", topic="paid", key="user"):
    """A payment."""

    user: str
    amount: int


class Seen(Event, type="test.seen", topic="seen", key="user"):
    """What an agent makes of a payment."""

    user: str
    agent: str
    amount: int


SUMS = {"payments": count(), "amount": total("amount")}
sums = Table("sums", source=Paid, by="user", columns=SUMS)
minutes = Table("minutes", source=Paid, by="user", window=tumbling("1m"), columns=SUMS)
fed = Table("fed", source=Paid, by="user", columns=SUMS, fed_by=Paid)


class Agents:
    """Two agents that pass payments on; one is broken until it is mended."""

    def __init__(self) -> None:
        self.broken = True
        self.all = [self._agent("first", False), self._agent("second", True)]

    def _agent(self, name: str, feeds: bool) -> AgentRunner:
        async def work(payments):
            async for batch in payments:
                if feeds and self.broken and (batch.frame["amount"] == 13).any():
                    raise ValueError("thirteen")
                batch.emit(Seen, batch.frame.with_columns(agent=pl.lit(name)))
                if feeds:
                    batch.update(fed, batch.frame)

        return AgentRunner(name, Paid, work, attempts_max=1)


def _letters(driver: Driver) -> list[DeadLetter]:
    return [
        DeadLetter(item.partition, item.offset, item.timestamp, item.key, item.value, item.headers)
        for item in driver.records(names.dead_letter_topic("test"))
    ]


def _replay(driver: Driver, letters: list[DeadLetter]) -> None:
    for letter in letters:
        record = letter.replayed("test", 3)
        driver.send_raw(
            record.topic,
            record.value,
            key=record.key,
            headers=record.headers,
            at=record.timestamp,
            partition=record.partition,
        )
    driver.checkpoint()


def _seen(driver: Driver) -> Counter[tuple[str, int]]:
    return Counter((item.agent, item.amount) for item in driver.emitted(Seen))


def test_what_an_agent_failed_on_is_for_that_agent_alone() -> None:
    agents = Agents()
    with Driver(tables=[sums, minutes, fed], agents=agents.all, partitions=3) as driver:
        for amount in (1, 13, 5):
            driver.send(Paid(user="a", amount=amount), at=START_MS + amount)
        for expected in (1, 2):  # it fails again, and is a dead letter again
            letters = _letters(driver)
            assert [letter.agent for letter in letters] == ["second"] * expected
            _replay(driver, letters[-1:])
        agents.broken = False
        _replay(driver, _letters(driver)[-1:])
        assert _seen(driver) == Counter(
            (name, n) for name in ("first", "second") for n in (1, 13, 5)
        )
        for table in (sums, minutes, fed):
            assert driver.rows(table)["amount"].to_list() == [19], table
            assert driver.rows(table)["payments"].to_list() == [3], table


def test_what_nobody_could_read_is_for_all() -> None:
    agents = Agents()
    agents.broken = False
    bad = b'{"user":"a"}'
    headers = [("ce_type", b"test.paid"), ("mine", None), ("headrace_stage", b"mine too")]
    with Driver(tables=[sums], agents=agents.all, partitions=3) as driver:
        driver.send_raw("paid", bad, key=b"a", headers=headers, at=START_MS, partition=2)
        (letter,) = _letters(driver)
        assert (letter.agent, letter.type_name, letter.topic) == (None, "test.paid", "paid")
        record = letter.replayed("test", 3)
        assert (record.value, record.key, record.partition) == (bad, b"a", 2)
        assert record.timestamp == START_MS
        assert record.headers[0] == ("headrace_replay", b"test")
        assert list(record.headers[-3:]) == headers
        origin = {name: value for name, value in record.headers if "origin" in name}
        assert origin == {
            "headrace_origin_topic": b"paid",
            "headrace_origin_partition": b"2",
            "headrace_origin_offset": b"0",
        }
        _replay(driver, [letter])
        again = _letters(driver)[-1]
        assert again.facts["offset"] == "1"
        assert list(again.replayed("test", 3).headers) == list(record.headers), (
            "the origin is the first one"
        )
        assert again.replayed("test", 2).partition is None, "there are fewer partitions now"

        good = msgspec.json.encode({"user": "a", "amount": 7})
        driver.send_raw("paid", good, key=b"a", headers=record.headers, at=START_MS)
        assert driver.rows(sums)["amount"].to_list() == [7]
        assert _seen(driver) == Counter({("first", 7): 1, ("second", 7): 1})


@pytest.mark.parametrize("value", [b'{"user":"a","amount":7}', b"{}"])
def test_an_agent_that_is_gone(value: bytes) -> None:
    """Nobody else is given its event; it stays a dead letter of that agent, also if it cannot be read now."""
    agents = Agents()
    headers = [
        ("headrace_replay", b"test/gone"),
        *((f"headrace_origin_{name}", b"0") for name in ("topic", "partition", "offset")),
        ("ce_type", b"test.paid"),
    ]
    with Driver(tables=[sums], agents=agents.all) as driver:
        driver.send_raw("paid", value, headers=headers)
        assert not _seen(driver)
        assert driver.rows(sums).is_empty()
        (letter,) = _letters(driver)
        assert letter.agent == "gone"
        assert letter.replayed("test", 1).headers == headers


def test_a_window_that_has_closed_meanwhile() -> None:
    """The event is late there, and counts where it still can."""
    with Driver(tables=[sums, minutes], partitions=1) as driver:
        driver.send_raw("paid", b"{}", headers=[("ce_type", b"test.paid")], at=START_MS)
        driver.send(Paid(user="a", amount=1), at=START_MS + 600_000)
        (letter,) = _letters(driver)
        record = letter.replayed("test", 1)
        assert record.timestamp == START_MS
        value = msgspec.json.encode(Paid(user="a", amount=7))
        driver.send_raw("paid", value, headers=record.headers, at=record.timestamp)
        assert driver.rows(sums)["amount"].to_list() == [8]
        assert driver.rows(minutes)["amount"].to_list() == [1]
        assert driver.late(minutes) == [Paid(user="a", amount=7)]


def test_another_application_has_read_it_long_ago() -> None:
    headers = [
        ("headrace_replay", b"another"),
        *((f"headrace_origin_{name}", b"0") for name in ("topic", "partition", "offset")),
        ("ce_type", b"test.paid"),
    ]
    with Driver(tables=[sums]) as driver:
        for value in (b'{"user":"a","amount":7}', b"{}"):
            driver.send_raw("paid", value, headers=headers)
        driver.send(Paid(user="a", amount=1))
        assert driver.rows(sums)["amount"].to_list() == [1]
        assert not _letters(driver)


@pytest.mark.parametrize(("read_from", "counted"), [(None, [1, 7]), (2, [1, 7]), (1, [1])])
def test_a_partition_that_is_read_anew(read_from: int | None, counted: list[int]) -> None:
    """The original, at offset 1, is read there too, if it lies behind where the reading begins."""
    origin = zip(("topic", "partition", "offset"), (b"paid", b"0", b"1"), strict=True)
    replayed = [("headrace_replay", b"test"), *((f"headrace_origin_{n}", v) for n, v in origin)]
    rows = [([], 1), (replayed, 7)]
    raw = build_batch(
        [
            Record(0, b"a", msgspec.json.encode(Paid(user="a", amount=amount)), [*headers, CE_TYPE])
            for headers, amount in rows
        ]
    )
    source = sources("test", Catalogue([Paid]), [sums], {}, Limits())["paid"]
    (batch,) = source.decode(Fetch("paid", 0, 0, 2, raw), read_from=read_from).batches
    assert batch.frame["amount"].to_list() == counted

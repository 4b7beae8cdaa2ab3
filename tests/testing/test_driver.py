"""The driver, as a user's own tests use it."""

from __future__ import annotations

import msgspec
import polars as pl
import pytest

from agents.flag_large_orders import flag_large_orders
from agents.remind_of_payments import remind_of_payments
from app.engine.processing.agent import AgentRunner, Stream
from app.events import Event
from app.events.cart_updated import CartUpdated
from app.events.customer_orders_counted import CustomerOrdersCounted
from app.events.large_order import LargeOrder
from app.events.order_placed import OrderPlaced
from app.events.payment_failed import PaymentFailed
from app.events.payment_reminder import PaymentReminder
from app.events.revenue_minute_closed import RevenueMinuteClosed
from app.monitoring import letters_told
from app.testing import Driver
from tables.orders_per_customer import orders_per_customer
from tables.revenue_per_minute import revenue_per_minute
from tests.captured_log import captured_log

MINUTE = 1_704_110_400_000  # 2024-01-01T12:00:00Z


def order(number: int, country: str = "DE", amount: float = 10.0) -> OrderPlaced:
    return OrderPlaced(
        order_id=str(number), customer_id=f"c{number}", country=country, amount=amount, items=1
    )


def revenue(country: str, orders: int, amount: float) -> RevenueMinuteClosed:
    """What a minute gives when all its orders have the same amount."""
    return RevenueMinuteClosed(
        window_start=MINUTE,
        window_end=MINUTE + 60_000,
        country=country,
        orders=orders,
        revenue=orders * amount,
        mean_amount=amount,
        largest_amount=amount,
    )


def test_an_agent_emits() -> None:
    with Driver(agents=[flag_large_orders]) as driver:
        driver.send(order(1, amount=1500.0), order(2, amount=999.0), at="12:00:05")
        assert driver.emitted(LargeOrder) == [
            LargeOrder(order_id="1", customer_id="c1", country="DE", amount=1500.0)
        ]


def test_an_agent_on_single_events_emits() -> None:
    failure = PaymentFailed(
        order_id="1", customer_id="c", method="card", amount=5.0, reason="expired"
    )
    with Driver(agents=[remind_of_payments]) as driver:
        driver.send(failure)
        (reminder,) = driver.emitted(PaymentReminder)
        assert (reminder.order_id, reminder.suggested_method) == ("1", "paypal")


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_repartitioned_table_closes_its_windows(partitions: int) -> None:
    with Driver(tables=[revenue_per_minute], partitions=partitions) as driver:
        driver.send(*(order(number, "DE") for number in range(20)), at="12:00:05")
        driver.send(*(order(number, "FR") for number in range(5)), at="12:00:30")
        rows = driver.rows(revenue_per_minute)
        assert rows["country"].to_list() == ["DE", "FR"]
        assert rows["orders"].to_list() == [20, 5]
        assert driver.emitted(RevenueMinuteClosed) == []
        driver.advance("2m")
        assert driver.emitted(RevenueMinuteClosed) == [
            revenue("DE", 20, 10.0),
            revenue("FR", 5, 10.0),
        ]
        assert driver.rows(revenue_per_minute).equals(rows)  # still kept
        driver.advance("1h")
        assert driver.rows(revenue_per_minute).is_empty()
        assert len(driver.emitted(RevenueMinuteClosed)) == 2


def test_an_aligned_table_closes_its_windows_by_later_events() -> None:
    with Driver(tables=[orders_per_customer]) as driver:
        driver.send(order(1), at="12:00:05")
        driver.send(order(1), at="12:01:09")
        assert driver.emitted(CustomerOrdersCounted) == []
        driver.send(order(1), at="12:01:10")  # the minute's end, and ten seconds of grace
        (closed,) = driver.emitted(CustomerOrdersCounted)
        assert (closed.customer_id, closed.orders) == ("c1", 1)


def test_late_events_are_told() -> None:
    with Driver(tables=[revenue_per_minute], partitions=2) as driver:
        driver.send(order(1), at="12:00:05")
        driver.advance("2m")
        driver.send(order(2), at="12:00:06")
        assert driver.late(revenue_per_minute) == [order(2)]
        assert driver.rows(revenue_per_minute)["orders"].to_list() == [1]


@pytest.mark.parametrize("lose_store", [False, True])
def test_a_restart_loses_nothing_and_doubles_nothing(lose_store: bool) -> None:
    with Driver(tables=[revenue_per_minute], agents=[flag_large_orders], partitions=4) as driver:
        driver.send(*(order(number, amount=2000.0) for number in range(10)), at="12:00:05")
        driver.checkpoint()
        driver.send(*(order(number, amount=2000.0) for number in range(10)), at="12:00:05")
        driver.restart(lose_store=lose_store)
        assert driver.rows(revenue_per_minute)["orders"].to_list() == [20]
        driver.restart(lose_store=lose_store)
        driver.advance("2m")
        assert driver.emitted(RevenueMinuteClosed) == [revenue("DE", 20, 2000.0)]
        assert len(driver.emitted(LargeOrder)) == 20
        driver.restart(lose_store=lose_store)
        driver.send(order(1), at="12:00:05")
        assert driver.late(revenue_per_minute) == [order(1)]


def test_an_error_with_half_a_character_becomes_a_dead_letter() -> None:
    async def agent(orders: Stream) -> None:
        async for _ in orders:
            raise ValueError("\ud800")

    with Driver(agents=[AgentRunner("agent", OrderPlaced, agent)]) as driver:
        driver.send(order(1))
        (letter,) = driver.dead_letters()
        assert letter.reason == r"ValueError: \ud800"


async def refuse_france(orders: Stream) -> None:
    async for batch in orders:
        if "FR" in batch.frame["country"]:
            raise ValueError("no orders from France")


def test_dead_letters_of_an_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = AgentRunner("refuse_france", OrderPlaced, refuse_france, attempts_max=2)
    lines = captured_log(monkeypatch, letters_told)
    with Driver(agents=[runner]) as driver:
        driver.send(order(1), order(2, "FR"), order(3))
        (letter,) = driver.dead_letters()
        assert [(line["event"], line["agent"], line["reason"]) for line in lines] == [
            ("events.dead_lettered", "refuse_france", letter.reason)
        ]
        assert (letter.stage, letter.agent, letter.attempts) == ("agent", "refuse_france", 2)
        assert (letter.topic, letter.partition, letter.offset) == ("orders", 0, 1)
        assert letter.reason == "ValueError: no orders from France"
        assert "in refuse_france" in (letter.traceback or "")
        assert letter.value == msgspec.json.encode(order(2, "FR"))


def test_dead_letters_of_what_cannot_be_read() -> None:
    with Driver(tables=[revenue_per_minute]) as driver:
        driver.send_raw("orders", b"{", key=b"k", headers=[("ce_type", b"order.placed")])
        driver.send(order(1))
        (letter,) = driver.dead_letters()
        assert (letter.stage, letter.key, letter.value, letter.agent) == (
            "decode",
            b"k",
            b"{",
            None,
        )
        assert driver.rows(revenue_per_minute)["orders"].to_list() == [1]


def test_another_type_of_a_topic_is_passed_over() -> None:
    with Driver(agents=[refuse_nothing()]) as driver:
        driver.send(order(1))
        driver.checkpoint()
        driver.send(Cancelled(order_id="1"))
        assert driver.dead_letters() == []


class Cancelled(Event, type="order.cancelled", topic="orders"):
    """Another type on the orders' topic."""

    order_id: str


def refuse_nothing() -> AgentRunner:
    async def look(orders: Stream) -> None:
        async for _ in orders:
            pass

    return AgentRunner("look", OrderPlaced, look)


def test_events_that_nobody_reads_are_refused() -> None:
    cart = CartUpdated(visitor_id="v", product="p", quantity=1, cart_value=1.0)
    with (
        Driver(tables=[revenue_per_minute]) as driver,
        pytest.raises(ValueError, match=r"carts.*orders"),
    ):
        driver.send(cart)


def test_what_is_no_agent_is_refused() -> None:
    with pytest.raises(TypeError, match=r"@app\.agent"):
        Driver(agents=[refuse_france])


def test_of_takes_the_tables_and_agents_of_an_app() -> None:
    from app import app

    with Driver.of(app, partitions=2) as driver:
        driver.send(order(1, amount=5000.0), at="12:00:00")
        assert len(driver.emitted(LargeOrder)) == 1
        assert driver.rows("revenue_per_minute").height == 1


def test_events_have_the_time_they_were_sent_at() -> None:
    with Driver(tables=[revenue_per_minute], start="2024-01-01T12:00:00") as driver:
        assert driver.now == MINUTE
        driver.send(order(1), at="12:03:00")
        driver.send(order(2))
        driver.send(order(3), at="12:02:59")
        assert driver.now == MINUTE + 180_000
        rows = driver.rows(revenue_per_minute).select("window_start", "orders")
        assert rows.rows() == [(MINUTE + 120_000, 1), (MINUTE + 180_000, 2)]
        assert isinstance(rows, pl.DataFrame)

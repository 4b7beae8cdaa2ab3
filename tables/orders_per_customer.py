"""Orders per minute and customer; the orders' key is the customer, so nothing is repartitioned."""

from __future__ import annotations

from app import Table, count, total, tumbling
from app.events.customer_orders_counted import CustomerOrdersCounted
from app.events.order_placed import OrderPlaced

orders_per_customer = Table(
    "orders_per_customer",
    description="How much each customer orders, minute by minute.",
    source=OrderPlaced,
    by="customer_id",
    window=tumbling("1m", grace="10s"),
    columns={"orders": count(), "spent": total("amount")},
    emit=CustomerOrdersCounted,
)

"""An agent on single events, for what is no column expression."""

from __future__ import annotations

from app import Stream, app
from app.events.payment_failed import PaymentFailed
from app.events.payment_reminder import PaymentReminder

OTHER_METHOD = {"card": "paypal", "paypal": "card", "transfer": "card", "invoice": "transfer"}


@app.agent(PaymentFailed)
async def remind_of_payments(failures: Stream[PaymentFailed]) -> None:
    """Write to every customer whose payment has failed, and suggest another method."""
    async for failure in failures.events():
        method = OTHER_METHOD.get(failure.method, "card")
        failures.emit(
            PaymentReminder(
                order_id=failure.order_id,
                customer_id=failure.customer_id,
                suggested_method=method,
                message=f"Your payment of {failure.amount:.2f} by {failure.method} has failed "
                f"({failure.reason}). Would you like to pay by {method}?",
            )
        )

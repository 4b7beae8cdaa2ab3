"""The example of docs/testing.md is a test that passes, and its table names what the driver has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from agents.flag_large_orders import flag_large_orders
from app.events.large_order import LargeOrder
from app.events.order_placed import OrderPlaced
from app.testing import Driver

PAGE = (Path(__file__).parents[2] / "docs/testing.md").read_text()


def test_the_example() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(example, "docs/testing.md", "exec"), namespace)
    namespace["test_orders"]()


def test_the_example_of_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (example,) = re.findall(r"```python\n(from app.testing import Driver.*?)```", readme, re.DOTALL)
    named = {
        "flag_large_orders": flag_large_orders,
        "LargeOrder": LargeOrder,
        "OrderPlaced": OrderPlaced,
    }
    exec(compile(example, "README.md", "exec"), named)


def test_every_method_is_on_the_page() -> None:
    methods = {name for name in vars(Driver) if not name.startswith("_")} - {"of", "now"}
    described = set(re.findall(r"^\| `(\w+)\(", PAGE, re.MULTILINE)) - {"Driver"}
    assert described == methods
    assert "Driver.of(app)" in PAGE and "driver.now" in PAGE

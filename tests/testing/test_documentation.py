"""The example of docs/testing.md is a test that passes, and its table names what the driver has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from app.testing import Driver

PAGE = (Path(__file__).parents[2] / "docs/testing.md").read_text()


def test_the_example() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(example, "docs/testing.md", "exec"), namespace)
    namespace["test_orders"]()


def test_every_method_is_on_the_page() -> None:
    methods = {name for name in vars(Driver) if not name.startswith("_")} - {"of", "now"}
    described = set(re.findall(r"^\| `(\w+)\(", PAGE, re.MULTILINE)) - {"Driver"}
    assert described == methods
    assert "Driver.of(app)" in PAGE and "driver.now" in PAGE

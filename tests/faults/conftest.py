"""What the tests of faults share."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, without its fixtures, what runs in the full form only."""
    if not config.getoption("--faults"):
        reason = "in the full form only: ./run test --faults"
        for item in items:
            if item.get_closest_marker("only_full"):
                item.add_marker(pytest.mark.skip(reason=reason))

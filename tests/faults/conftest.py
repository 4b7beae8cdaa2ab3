"""What the tests of faults share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """In the full form nothing is passed over: it is what shows that all faults are survived."""
    report = yield
    if report.skipped and item.config.getoption("--faults"):
        report.outcome = "failed"
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, without its fixtures, what runs in the full form only."""
    if not config.getoption("--faults"):
        reason = "in the full form only: ./run test --faults"
        for item in items:
            if item.get_closest_marker("only_full"):
                item.add_marker(pytest.mark.skip(reason=reason))

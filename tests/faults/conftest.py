"""What the tests of faults share."""

from __future__ import annotations

import pytest


@pytest.fixture
def full_faults(request: pytest.FixtureRequest) -> bool:
    """Whether the faults come in their full form, which takes minutes."""
    return bool(request.config.getoption("--faults"))

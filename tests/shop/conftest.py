"""The shop's tables by name."""

from __future__ import annotations

import pytest

import tables as package
from app.engine.language.table import Table
from app.events.catalogue import import_all


@pytest.fixture(scope="session")
def tables() -> dict[str, Table]:
    """All tables of `tables/`."""
    return {
        item.name: item
        for module in import_all(package)
        for item in vars(module).values()
        if isinstance(item, Table)
    }

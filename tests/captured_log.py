"""What a module logs, whatever other tests have made of the configuration of logs."""

from __future__ import annotations

from collections.abc import MutableMapping
from types import ModuleType
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture


def captured_log(patch: pytest.MonkeyPatch, module: ModuleType) -> list[MutableMapping[str, Any]]:
    """The lines of its `log`, from now on."""
    capture = LogCapture()
    own = structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[capture],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=False,
    )
    patch.setattr(module, "log", own)
    return capture.entries

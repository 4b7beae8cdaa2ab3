"""The process of `faust worker` ends with one line when its broker goes away before it is ready."""

from __future__ import annotations

import os
from typing import NoReturn

import faust
import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from app.monitoring.faust_worker import Worker


async def _gone(_: faust.Worker) -> NoReturn:
    raise KafkaConnectionError("Unable to bootstrap from [...]")


def _exit(code: int) -> NoReturn:
    raise SystemExit(code)


async def test_a_broker_that_goes_away_before_the_worker_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faust.Worker, "start", _gone)
    monkeypatch.setattr(os, "_exit", _exit)
    worker = Worker.__new__(Worker)
    worker._ready = False
    with capture_logs() as logs, pytest.raises(SystemExit) as ended:
        await worker.start()
    assert ended.value.code == 1
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("worker.cannot_start", "critical")
    ]
    assert "Unable to bootstrap" in logs[0]["reason"]
    worker._ready = True  # later it is an error like any other
    with pytest.raises(KafkaConnectionError):
        await worker.start()

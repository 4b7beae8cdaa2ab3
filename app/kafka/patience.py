"""Asking Kafka again while it sorts itself out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from confluent_kafka import KafkaException

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

_PAUSE_S_MAX = 1.0


def patiently(ask: Callable[[], Answer], *, timeout_s: float) -> Answer:
    """Ask, and ask again while Kafka answers with an error (no leader yet, broker restarting); blocks.

    For questions only: what is asked must change nothing. KafkaException: the last answer at the timeout.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.05
    while True:
        try:
            return ask()
        except KafkaException as error:
            if time.monotonic() + pause_s > deadline:
                raise
            log.debug("kafka.asked_again", error=error.args[0].str())
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_S_MAX)

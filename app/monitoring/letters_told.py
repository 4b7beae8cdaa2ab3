"""Tells the log of dead letters: the first of its kind at once, later ones with the next line that is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

TELL_S_MIN = 10.0


@dataclass
class _Kind:
    """How many dead letters of one topic, class and agent are untold, and when (s) it was told of them last."""

    told_s: float
    untold: int = 0


class LettersTold:
    """Logs at most one line in TELL_S_MIN of each topic, class of reasons and agent, however many letters there are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, ...], _Kind] = {}

    def add(self, kind: str, facts: Mapping[str, str]) -> None:
        """One more of this class; facts: what the letter's headers say."""
        now = self._clock()
        agent = facts.get("agent", "")
        item = self._kinds.setdefault((facts["topic"], kind, agent), _Kind(now - TELL_S_MIN))
        item.untold += 1
        if now - item.told_s < TELL_S_MIN:
            return
        of_agent = {"agent": agent} if agent else {}
        log.warning(
            "events.dead_lettered",
            topic=facts["topic"],
            **of_agent,
            events=item.untold,
            reason=facts["reason"],
        )
        item.told_s, item.untold = now, 0

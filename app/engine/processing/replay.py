"""Dead letters on their way back: what is put into the source topic again, and whom it is for.

A replay is for the application that has failed on the event: others may have read it long ago. A dead letter of stage
`decode` was read by nobody there, so its replay is for all of it. One of an agent has been counted by the tables and
handled by the other agents, so its replay is for that agent alone. The record's first header says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from app.codecs.records import Records, with_first_header
from app.engine.processing.checkpoint import Headers, Record
from app.engine.processing.dead_letter import FIRST_FACT, PREFIX, facts_of

REPLAY = PREFIX + "replay"
"""The header that comes first in a replayed record: the application, and behind a slash the agent, if it is for one."""
_ORIGIN = tuple(PREFIX + "origin_" + name for name in ("topic", "partition", "offset"))
"""Those that follow it: where the event came from at first, however often it has been replayed."""


@dataclass(frozen=True)
class DeadLetter:
    """A record of the dead-letter topic."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @cached_property
    def facts(self) -> Mapping[str, str]:
        """What `dead_letter` has added, without its prefix; empty: this is none of ours."""
        return facts_of(self.headers[self._facts_start :])

    @property
    def size(self) -> int:
        """Its bytes, without its headers."""
        return len(self.key or b"") + len(self.value or b"")

    @property
    def topic(self) -> str:
        """The topic that it came from."""
        return self.facts.get("topic", "")

    @property
    def agent(self) -> str | None:
        """The agent that has failed on it; None: nobody could read it."""
        return self.facts.get("agent") or self._replayed_for

    @property
    def type_name(self) -> str | None:
        """The type that its headers tell, of CloudEvents' binary mode."""
        name = dict(self._original_headers).get("ce_type")
        return None if name is None else name.decode(errors="replace")

    def replayed(self, app_id: str, partition_count: int) -> Record:
        """The original record, for the partition that it came from.

        app_id: whose dead letter it is. partition_count: of its topic; where it has fewer by now, the key decides.
        """
        partition = int(self.facts["partition"])
        origin = self._origin or tuple(
            (name, self.facts[name.removeprefix(PREFIX + "origin_")].encode()) for name in _ORIGIN
        )
        audience = app_id if self.agent is None else f"{app_id}/{self.agent}"
        return Record(
            self.topic,
            self.key,
            self.value,
            [(REPLAY, audience.encode()), *origin, *self._original_headers],
            partition if partition < partition_count else None,
            self.timestamp,
        )

    @cached_property
    def _facts_start(self) -> int:
        """The original's own headers may have such names too; ours come last."""
        names = [name for name, _ in self.headers]
        return len(names) - 1 - names[::-1].index(FIRST_FACT) if FIRST_FACT in names else len(names)

    @cached_property
    def _replay(self) -> Replayed | None:
        return Replayed.of(self.headers)

    @property
    def _replayed_for(self) -> str | None:
        return None if self._replay is None else self._replay.agent

    @property
    def _origin(self) -> Headers:
        return tuple(self.headers[1 : 1 + len(_ORIGIN)]) if self._replay else ()

    @property
    def _original_headers(self) -> Headers:
        return self.headers[1 + len(_ORIGIN) if self._replay else 0 : self._facts_start]


@dataclass(frozen=True)
class Replayed:
    """What the headers of a replayed record say. agent: the one that it is for alone; None: all of the application."""

    app_id: str
    agent: str | None
    topic: str
    partition: int
    offset: int

    @classmethod
    def of(cls, headers: Headers) -> Replayed | None:
        """None: this is no replay."""
        found = headers[: 1 + len(_ORIGIN)]
        if tuple(name for name, _ in found) != (REPLAY, *_ORIGIN):
            return None
        audience, topic, partition, offset = (
            (value or b"").decode(errors="replace") for _, value in found
        )
        if not (partition.isdecimal() and offset.isdecimal()):
            return None
        app_id, _, agent = audience.partition("/")
        return cls(app_id, agent or None, topic, int(partition), int(offset))


def replays(records: Records) -> dict[int, Replayed]:
    """The records that are replays."""
    return {
        int(row): found
        for row in with_first_header(records, REPLAY.encode())
        if (found := Replayed.of(records.headers(int(row)))) is not None
    }

"""Dead letters on their way back: what is put into the source topic again, and whom it is for.

A dead letter of stage `decode` was read by nobody, so its replay is for all. One of an agent has been counted by
the tables and handled by the other agents, so its replay is for that agent alone: the record's first header says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from app.codecs.records import Records, with_first_header
from app.engine.checkpoint import Headers, Record
from app.engine.dead_letter import FIRST_FACT, PREFIX

REPLAY = PREFIX + "replay"
"""The header that comes first in a replayed record: the agent that it is for; empty: it is for all."""
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
        return {
            name.removeprefix(PREFIX): (value or b"").decode(errors="replace")
            for name, value in self.headers[self._facts_start :]
        }

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

    def replayed(self, partition_count: int) -> Record:
        """The original record, for the partition that it came from.

        partition_count: of its topic; where it has fewer partitions by now, the key decides.
        """
        partition = int(self.facts["partition"])
        origin = self._origin or tuple(
            (name, self.facts[name.removeprefix(PREFIX + "origin_")].encode()) for name in _ORIGIN
        )
        return Record(
            self.topic,
            self.key,
            self.value,
            [(REPLAY, (self.agent or "").encode()), *origin, *self._original_headers],
            partition if partition < partition_count else None,
            self.timestamp,
        )

    @cached_property
    def _facts_start(self) -> int:
        """The original's own headers may have such names too; ours come last."""
        names = [name for name, _ in self.headers]
        return len(names) - 1 - names[::-1].index(FIRST_FACT) if FIRST_FACT in names else len(names)

    @property
    def _was_replayed(self) -> bool:
        names = tuple(name for name, _ in self.headers[: 1 + len(_ORIGIN)])
        return names == (REPLAY, *_ORIGIN)

    @property
    def _replayed_for(self) -> str | None:
        return ((self.headers[0][1] or b"").decode() or None) if self._was_replayed else None

    @property
    def _origin(self) -> Headers:
        return tuple(self.headers[1 : 1 + len(_ORIGIN)]) if self._was_replayed else ()

    @property
    def _original_headers(self) -> Headers:
        start = 1 + len(_ORIGIN) if self._was_replayed else 0
        return self.headers[start : self._facts_start]


def agents_of_replays(records: Records) -> dict[int, str]:
    """The records that are for one agent alone, each with its name."""
    return {
        int(row): name.decode(errors="replace")
        for row in with_first_header(records, REPLAY.encode())
        if (name := records.headers(int(row))[0][1])
    }

"""What is committed beside an offset."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from app.engine.language.table import Table
from app.engine.language.table_checks import TableDefinitionError

BYTES_MAX = 4096
"""Kafka's default limit (`offset.metadata.max.bytes`)."""


class OffsetNote(msgspec.Struct, frozen=True, rename={"checkpoint": "c", "stream_times": "t"}):
    """What is committed beside an offset, as its metadata: one transaction keeps them equal.

    checkpoint:   the checkpoint's own name, by which its outcome can be found out.
    stream_times: of the source partition (ms), per table that is repartitioned. The other tables keep
                  theirs with their state.
    """

    checkpoint: str = ""
    stream_times: dict[str, int] = {}

    def encode(self) -> str:
        """As text; Kafka takes 4096 bytes by default."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> OffsetNote:
        """Read it back; an offset that somebody else has committed has nothing to say."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError:
            return cls()


def check_offset_notes(tables: Iterable[Table]) -> None:
    """The stream times of a topic's tables are committed beside its offsets, where Kafka has little room."""
    names_of: dict[str, list[str]] = {}
    for table in tables:
        if not table.aligned:
            names_of.setdefault(table.topic, []).append(table.name)
    for topic, found in names_of.items():
        note = OffsetNote("x" * 200, dict.fromkeys(found, 10**15)).encode()
        if len(note) > BYTES_MAX:
            raise TableDefinitionError(
                f"{len(found)} tables on topic {topic!r} are repartitioned, and their names take {len(note)} bytes; "
                f"at most {BYTES_MAX} can be committed: use shorter names, or a second application"
            )

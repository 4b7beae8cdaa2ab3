"""What a checkpoint holds: plain values, made by the engine, carried out by the shell in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.engine.language.batch import Emission
from app.engine.state.table_partition import Change

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class Record:
    """One record to produce. partition None: placed by the key's murmur2 hash."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    timestamp: int | None = None


@dataclass
class Checkpoint:
    """Everything that becomes visible together.

    positions: the next offset to read of each source partition. stream_times: of these partitions (ms),
    per table that is repartitioned. records: dead letters, late events and
    partial aggregates. emissions: derived events, not yet encoded. changes: of table partitions.
    """

    positions: dict[tuple[str, int], int]
    records: list[Record] = field(default_factory=list)
    emissions: list[Emission] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    stream_times: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)
    late_events: dict[str, int] = field(default_factory=dict)
    dead_letters: int = 0
    events: int = 0

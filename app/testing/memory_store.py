"""Segments in memory: a `Store` that is gone with the process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.engine.state.segment import head_bytes
from app.engine.state.store import MissingSegmentError, StoreWrite


@dataclass
class _Part:
    values: dict[bytes, bytes] = field(default_factory=dict)
    changelog: bytes | None = None
    changelog_offset: int | None = None


class MemoryStore:
    """Keeps every promise of `app.engine.state.store.Store` but durability."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, int], _Part] = {}

    def read(self, table: str, partition: int, keys: list[bytes]) -> list[bytes]:
        """The values of these keys, in their order. MissingSegmentError: one is not there."""
        values = self._part(table, partition).values
        for key in keys:
            if key not in values:
                raise MissingSegmentError(
                    f"table {table!r}, partition {partition}: no segment {key.hex()}"
                )
        return [values[key] for key in keys]

    def get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """The value of one key, or None."""
        return self._part(table, partition).values.get(key)

    def heads(self, table: str, partition: int) -> dict[bytes, bytes]:
        """All keys of a table partition in their order, each with its segment's head."""
        values = self._part(table, partition).values
        return {key: head_bytes(key, values[key]) for key in sorted(values)}

    def changelog(self, table: str, partition: int) -> bytes | None:
        """Of which changelog it has begun a copy; None: of none that is known."""
        return self._part(table, partition).changelog

    def changelog_offset(self, table: str, partition: int) -> int | None:
        """The next changelog offset that the store does not hold yet; None: it holds nothing."""
        return self._part(table, partition).changelog_offset

    def age_s(self, table: str, partition: int) -> int:
        """0: it does not outlive the test."""
        return 0

    def stale(self, table: str, partition: int) -> bool:
        """It is never left alone for long."""
        return False

    def write(self, writes: Iterable[StoreWrite], *, settled: bool = True) -> None:
        """Apply all changes in one step."""
        for item in list(writes):
            part = self._parts.setdefault((item.table, item.partition), _Part())
            for key in item.deletes:
                part.values.pop(key, None)
            part.values.update(item.puts)
            if item.changelog_offset is not None:
                part.changelog_offset = item.changelog_offset

    def settle(self) -> None:
        """Nothing here outlives the process."""

    def begin(self, table: str, partition: int, changelog: bytes) -> None:
        """Forget a table partition, and begin a copy of this changelog."""
        self._parts[(table, partition)] = _Part(changelog=changelog)

    def clear(self, table: str, partition: int) -> None:
        """Forget a table partition."""
        self._parts.pop((table, partition), None)

    def live_bytes(self) -> int:
        """How many bytes keys and values take."""
        return sum(
            len(key) + len(value)
            for part in self._parts.values()
            for key, value in part.values.items()
        )

    def _part(self, table: str, partition: int) -> _Part:
        return self._parts.get((table, partition), _Part())

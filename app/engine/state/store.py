"""Where segments live on this machine: the protocol that every store keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

STALE_AFTER_S = 1800
"""A store that was not written to for so long may have missed tombstones: changelogs keep them for an hour."""


@dataclass
class StoreWrite:
    """Changes to one table partition: deletes, then puts; and the changelog offset up to which it then is.

    age_s: how long ago the changelog ended there or before; what came since may be missing.
    """

    table: str
    partition: int
    puts: dict[bytes, bytes] = field(default_factory=dict)
    deletes: list[bytes] = field(default_factory=list)
    changelog_offset: int | None = None
    age_s: int = 0


class StateRefusedError(RuntimeError):
    """State on disk or on a changelog cannot be used; the message says why, and what to do."""


class MissingSegmentError(KeyError):
    """A segment that the state names is not in the store: it was replaced meanwhile, or the store is damaged."""


class Store(Protocol):
    """Holds committed segments; a write is atomic over all its parts.

    It may lag behind the changelog after a crash, and never runs ahead of it.
    """

    def read(self, table: str, partition: int, keys: list[bytes]) -> list[bytes]:
        """The values of these keys, in their order. MissingSegmentError: one is not there."""
        ...

    def get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """The value of one key, or None."""
        ...

    def heads(self, table: str, partition: int) -> dict[bytes, bytes]:
        """All keys of a table partition in their order, each with its segment's head (`segment.head_bytes`)."""
        ...

    def changelog(self, table: str, partition: int) -> bytes | None:
        """Of which changelog it has begun a copy; None: of none that is known."""
        ...

    def changelog_offset(self, table: str, partition: int) -> int | None:
        """The next changelog offset that the store does not hold yet; None: it holds nothing."""
        ...

    def stale(self, table: str, partition: int) -> bool:
        """Whether it was all of the changelog more than `STALE_AFTER_S` ago, and not since."""
        ...

    def age_s(self, table: str, partition: int) -> int:
        """How long ago (s) it was all of the changelog; 0: it holds nothing."""
        ...

    def write(self, writes: Iterable[StoreWrite], *, settled: bool = True) -> None:
        """Apply all changes in one atomic step.

        Not `settled`: a crash before `settle` may undo it and all such writes after it, which is cheaper. Nothing
        else may be written to the same table partition meanwhile.
        """
        ...

    def settle(self) -> None:
        """What was written stays, whatever comes."""
        ...

    def begin(self, table: str, partition: int, changelog: bytes) -> None:
        """Forget a table partition, and begin a copy of this changelog."""
        ...

    def clear(self, table: str, partition: int) -> None:
        """Forget a table partition."""
        ...

    def live_bytes(self) -> int:
        """About how many bytes the live data take."""
        ...

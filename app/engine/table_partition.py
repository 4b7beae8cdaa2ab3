"""The state of one partition of one table: its windows' stacks, and how far it has closed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import polars as pl

from app.engine.stacks import Budget, Build, ReadSegments, Sizes, Stacks, StackUpdate
from app.engine.store import StateRefusedError
from app.engine.table import PANE, Table
from app.engine.watermark import Progress, watermark

META_KEY = b"m"
"""The key of a table partition's checkpoint record."""
FORMAT = 2
"""Of segments and of the checkpoint record."""


class Meta(msgspec.Struct, frozen=True):
    """The checkpoint record of a table partition: enough to go on, and to check that state and offsets agree."""

    sequence: int = 0
    watermark: int | None = None
    senders: dict[int, tuple[int | None, bool]] = {}
    positions: dict[str, int] = {}
    definition: str = ""
    closed: tuple[int, ...] = ()
    builds: dict[int, Build] = {}
    format: int = 1


@dataclass
class Change:
    """What one checkpoint does to a table partition. Nothing holds before the transaction has committed.

    closed: result rows of windows that are closed, in slices. late: partials that came after the close.
    """

    table: Table
    partition: int
    puts: dict[bytes, bytes]
    deletes: list[bytes]
    closed: list[pl.DataFrame] = field(default_factory=list)
    late: list[pl.DataFrame] = field(default_factory=list)
    stacks: Stacks = field(default_factory=Stacks)
    meta: Meta = field(default_factory=Meta)


class TablePartition:
    """Committed state of one table partition; `prepare` says how a checkpoint would change it.

    senders: the source partitions whose events can reach this one.
    """

    def __init__(self, table: Table, partition: int, senders: Sequence[int], sizes: Sizes) -> None:
        self.table = table
        self.partition = partition
        self._expected = tuple(senders)
        self._sizes = sizes
        self.stacks = Stacks()
        self.meta = Meta()

    def load(self, heads: Mapping[bytes, bytes], meta: bytes | None) -> None:
        """Take over the state that a store holds.

        msgspec.DecodeError: a damaged checkpoint record. StateRefusedError: the table was another one then.
        """
        self.meta = Meta() if meta is None else msgspec.json.decode(meta, type=Meta)
        if meta is not None and self.meta.format != FORMAT:
            raise StateRefusedError(
                f"table {self.table.name!r}: its state has format {self.meta.format}, and this version of "
                f"Headrace reads {FORMAT}; give the table a new name, or use the version that wrote it"
            )
        if self.meta.definition not in ("", self.table.definition):
            raise StateRefusedError(
                f"table {self.table.name!r} is defined otherwise than when its state was written; "
                "give the new definition a new name, or restore the old one"
            )
        self.stacks = Stacks.of(heads, self.meta.closed, self.meta.builds)

    def stream_time(self, sender: int) -> int | None:
        """The committed stream time of a sender (ms)."""
        return self.meta.senders.get(sender, (None, False))[0]

    @property
    def unfinished(self) -> bool:
        """Whether merges or closes are left that need another checkpoint, even if no event comes."""
        return bool(self.stacks.builds or self._closable(self.stacks, self.meta.watermark))

    def apply(self, change: Change) -> None:
        """Make a committed change the state."""
        self.stacks = change.stacks
        self.meta = change.meta

    def prepare(
        self,
        partials: Sequence[pl.DataFrame],
        progress: Mapping[int, Progress],
        read: ReadSegments,
        positions: Mapping[str, int],
        budget: Budget,
    ) -> Change | None:
        """What the checkpoint of these partials and senders' progress changes; None: nothing.

        `read` gives the committed segments of the keys. The state itself stays as it is.
        """
        senders = {sender: Progress(*entry) for sender, entry in self.meta.senders.items()}
        news = {sender: item for sender, item in progress.items() if senders.get(sender) != item}
        if not partials and not news and not self.unfinished:
            return None
        senders.update(news)
        before, sequence = self.meta.watermark, self.meta.sequence + 1
        now = watermark(before, self._expected, senders)
        sessions = self.table.sessions
        dead_to = sessions.dead_to(now) if sessions and now is not None else None
        update = StackUpdate(self.stacks, self.table, sequence, self._sizes, budget, read, dead_to)
        change = Change(
            self.table, self.partition, update.puts, update.deletes, stacks=update.stacks
        )
        deltas = self._split(partials, change, before)
        self._close(change, update, deltas, now, budget)
        for pane, delta in deltas.items():
            update.append(pane, delta)
        if sessions and sessions.sweeps(before, now):
            update.sweep()
        change.closed += map(self.table.result, update.advance(lambda pane: self._kept(pane, now)))
        self._forget(update, now)
        change.meta = Meta(
            sequence,
            now,
            {sender: (item.time, item.idle) for sender, item in senders.items()},
            dict(positions),
            self.table.definition,
            tuple(sorted(update.stacks.closed)),
            update.stacks.builds,
            FORMAT,
        )
        change.puts[META_KEY] = msgspec.json.encode(change.meta)
        return change

    def _split(
        self, partials: Sequence[pl.DataFrame], change: Change, closed_to: int | None
    ) -> dict[int, pl.DataFrame]:
        """The partials of each window; what came for a closed window is late."""
        if not partials:
            return {}
        merged = self.table.stack(partials)
        if self.table.sessions and closed_to is not None and len(merged):
            merged, late = self.table.sessions.admitted(merged, closed_to)
            if late is not None and len(late):
                change.late.append(late)
        if merged.is_empty():
            return {}
        first, last = merged[PANE].min(), merged[PANE].max()
        parts = (
            {first: merged}
            if first == last
            else {key[0]: part for key, part in merged.partition_by(PANE, as_dict=True).items()}
        )
        open_parts: dict[int, pl.DataFrame] = {}
        for pane, part in sorted(parts.items()):
            if closed_to is not None and self.table.windowing.closes_at(pane) <= closed_to:
                change.late.append(part)
            else:
                open_parts[pane] = part
        return open_parts

    def _close(
        self,
        change: Change,
        update: StackUpdate,
        deltas: dict[int, pl.DataFrame],
        now: int | None,
        budget: Budget,
    ) -> None:
        """Close the windows that the watermark has passed, as far as the budget goes; the rest is closed later.

        Takes the deltas of those that are closed out of `deltas`.
        """
        if now is None:
            return
        passed = {pane for pane in deltas if self.table.windowing.closes_at(pane) <= now}
        for pane in sorted({*self._closable(update.stacks, now), *passed}):
            if not budget.take(sum(run.size for run in update.stacks.runs.get(pane, ())) + 1):
                return
            merged = update.close(pane, deltas.pop(pane, None), self._kept(pane, now))
            if merged is not None:
                change.closed.append(self.table.result(merged))

    def _closable(self, stacks: Stacks, now: int | None) -> list[int]:
        """The windows that the watermark has passed and whose close has not begun."""
        if now is None:
            return []
        return [pane for pane in stacks.open_panes() if self.table.windowing.closes_at(pane) <= now]

    def _kept(self, pane: int, now: int | None) -> bool:
        """Whether a closed window stays readable."""
        return now is None or self.table.windowing.forgotten_at(pane) > now

    def _forget(self, update: StackUpdate, now: int | None) -> None:
        """Drop the closed windows that are no longer kept."""
        for pane in update.stacks.closed:
            if not self._kept(pane, now):
                update.forget(pane)

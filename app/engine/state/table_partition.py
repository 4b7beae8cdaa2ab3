"""The state of one partition of one table: its windows' stacks, and how far it has closed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import polars as pl

from app.engine.language.table import PANE, Table
from app.engine.state.definition import DEFINITION_KEY, Definition, Migration
from app.engine.state.layout import Layout
from app.engine.state.sizes import Budget, Sizes
from app.engine.state.stacks import Build, ReadSegments, Stacks, StackUpdate
from app.engine.state.store import StateRefusedError, Store
from app.engine.state.watermark import Progress, watermark

META_KEY = b"m"
"""The key of a table partition's checkpoint record."""
FORMAT = 3
"""Of segments and of the checkpoint record."""


class Meta(msgspec.Struct, frozen=True):
    """The checkpoint record of a table partition: enough to go on, and to check that state and offsets agree.

    closed_before: windows that start before this are closed, or being closed; what comes for them is late.
    rebuilding: the rest is not whole, until the rebuild that writes it has ended.
    """

    sequence: int = 0
    watermark: int | None = None
    senders: dict[int, tuple[int | None, bool]] = {}
    positions: dict[str, int] = {}
    closed: tuple[int, ...] = ()
    builds: dict[int, Build] = {}
    closed_before: int | None = None
    rebuilding: bool = False
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

    senders: the source partitions whose events can reach this one. partitions: of the table.
    migration: what the table's definition changes of the state that was loaded.
    """

    def __init__(
        self, table: Table, partition: int, senders: Sequence[int], partitions: int, sizes: Sizes
    ) -> None:
        self.table = table
        self.partition = partition
        self._expected = tuple(senders)
        self._partitions = partitions
        self._sizes = sizes
        self.stacks = Stacks()
        self.meta = Meta()
        self.migration: Migration | None = None
        self._definition = Definition.of(table, partitions)
        self._written: Definition | None = None
        self._due = False
        self.layout = Layout(table, self._definition)

    def load(self, store: Store) -> None:
        """Take over the state that a store holds.

        msgspec.DecodeError: a damaged checkpoint record. StateRefusedError: it is of another version, or cannot
        become that of the table as it is now, or is being rebuilt.
        """
        name, here = self.table.name, (self.table.name, self.partition)
        record = store.get(*here, META_KEY)
        if record is None:
            return
        meta = msgspec.json.decode(record, type=Meta)
        if meta.format != FORMAT:
            raise StateRefusedError(
                f"table {name!r}: its state has format {meta.format}, and this version of Headrace reads {FORMAT}; "
                f"rebuild it from its source (faust -A app rebuild {name}), give the table a new name, "
                "or use the version that wrote it"
            )
        if meta.rebuilding:
            raise StateRefusedError(
                f"table {name!r} is being rebuilt, or that was interrupted: wait for its end, "
                f"or begin anew with faust -A app rebuild {name}"
            )
        written = store.get(*here, DEFINITION_KEY)
        self._written = msgspec.json.decode(written or b"", type=Definition)
        self._definition = self._written.follow(self.table, self._partitions, meta.sequence + 1)
        self.migration = Migration.between(self._written, self._definition)
        self.layout = Layout(self.table, self._definition)
        self.meta = meta
        self.stacks = Stacks.of(store.heads(*here), meta.closed, meta.builds)
        behind = self._watermark(self._senders()) != meta.watermark  # as a rebuild leaves it
        self._due = behind or self._written != self._definition

    @property
    def definition_record(self) -> bytes:
        """The record of the definition that the state takes on."""
        return msgspec.json.encode(self._definition)

    def stream_time(self, sender: int) -> int | None:
        """The committed stream time of a sender (ms)."""
        return self.meta.senders.get(sender, (None, False))[0]

    @property
    def unfinished(self) -> bool:
        """Whether merges or closes are left that need another checkpoint, even if no event comes."""
        closable = self._closable(self.stacks, self.meta.closed_before)
        return self._due or bool(self.stacks.builds) or bool(closable)

    def apply(self, change: Change) -> None:
        """Make a committed change the state."""
        self.stacks = change.stacks
        self.meta = change.meta
        self._written = self._definition
        self._due = False

    def _senders(self) -> dict[int, Progress]:
        return {sender: Progress(*entry) for sender, entry in self.meta.senders.items()}

    def _watermark(self, senders: Mapping[int, Progress]) -> int | None:
        # of those that the topic has got since, those that have been heard of count too
        return watermark(self.meta.watermark, {*self._expected, *senders}, senders)

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
        senders = self._senders()
        news = {sender: item for sender, item in progress.items() if senders.get(sender) != item}
        if not partials and not news and not self.unfinished:
            return None
        senders.update(news)
        before, sequence = self.meta.watermark, self.meta.sequence + 1
        now = self._watermark(senders)
        closed_before = self._closed_before(now)
        sessions = self.table.sessions
        dead_to = sessions.dead_to(now) if sessions and now is not None else None
        update = StackUpdate(
            self.stacks, self.table, self.layout, sequence, self._sizes, budget, read, dead_to
        )
        change = Change(
            self.table, self.partition, update.puts, update.deletes, stacks=update.stacks
        )
        deltas = self._split(partials, change, before)
        self._close(change, update, deltas, now, closed_before, budget)
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
            tuple(sorted(update.stacks.closed)),
            update.stacks.builds,
            closed_before,
            format=FORMAT,
        )
        change.puts[META_KEY] = msgspec.json.encode(change.meta)
        if self._written != self._definition:
            change.puts[DEFINITION_KEY] = self.definition_record
        return change

    def _closed_before(self, now: int | None) -> int | None:
        """The start of the first window that is open at this watermark; it never goes back, as when grace grows."""
        before = self.meta.closed_before
        if now is None or not self.table.windowed:
            return before
        closed = self.table.windowing.closed_before(now)
        return closed if before is None else max(before, closed)

    def _split(
        self, partials: Sequence[pl.DataFrame], change: Change, watermark: int | None
    ) -> dict[int, pl.DataFrame]:
        """The partials of each window; what came for a closed window is late."""
        if not partials:
            return {}
        merged = self.table.stack(partials)
        if self.table.sessions and watermark is not None and len(merged):
            merged, late = self.table.sessions.admitted(merged, watermark)
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
            if _before(pane, self.meta.closed_before):
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
        closed_before: int | None,
        budget: Budget,
    ) -> None:
        """Close the windows that the watermark has passed, as far as the budget goes; the rest is closed later.

        Takes the deltas of those that are closed out of `deltas`.
        """
        passed = {pane for pane in deltas if _before(pane, closed_before)}
        for pane in sorted({*self._closable(update.stacks, closed_before), *passed}):
            if not budget.take(sum(run.size for run in update.stacks.runs.get(pane, ())) + 1):
                return
            merged = update.close(pane, deltas.pop(pane, None), self._kept(pane, now))
            if merged is not None:
                change.closed.append(self.table.result(merged))

    def _closable(self, stacks: Stacks, closed_before: int | None) -> list[int]:
        """The windows that the watermark has passed and whose close has not begun."""
        return [pane for pane in stacks.open_panes() if _before(pane, closed_before)]

    def _kept(self, pane: int, now: int | None) -> bool:
        """Whether a closed window stays readable."""
        return now is None or self.table.windowing.forgotten_at(pane) > now

    def _forget(self, update: StackUpdate, now: int | None) -> None:
        """Drop the closed windows that are no longer kept."""
        for pane in update.stacks.closed:
            if not self._kept(pane, now):
                update.forget(pane)


def _before(pane: int, limit: int | None) -> bool:
    return limit is not None and pane < limit

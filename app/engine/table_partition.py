"""The state of one partition of one table: which segments each window has, and how far it has closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import polars as pl

from app.engine import segment
from app.engine.segment import FINAL, Run
from app.engine.table import PANE, Table, TableDefinitionError
from app.engine.watermark import Progress, watermark

META_KEY = b"m"
"""The key of a table partition's checkpoint record."""

ReadSegments = Callable[[list[bytes]], list[bytes]]


class Meta(msgspec.Struct, frozen=True):
    """The checkpoint record of a table partition: enough to go on, and to check that state and offsets agree."""

    sequence: int = 0
    watermark: int | None = None
    senders: dict[int, tuple[int | None, bool]] = {}
    positions: dict[str, int] = {}
    definition: str = ""


@dataclass
class Change:
    """What one checkpoint does to a table partition. Nothing holds before the transaction has committed."""

    table: Table
    partition: int
    puts: dict[bytes, bytes] = field(default_factory=dict)
    deletes: list[bytes] = field(default_factory=list)
    closed: list[pl.DataFrame] = field(default_factory=list)
    late: list[pl.DataFrame] = field(default_factory=list)
    index: dict[int, tuple[Run, ...]] = field(default_factory=dict)
    meta: Meta = field(default_factory=Meta)


class TablePartition:
    """Committed state of one table partition; `prepare` says how a checkpoint would change it.

    senders: the source partitions whose events can reach this one.
    """

    def __init__(
        self,
        table: Table,
        partition: int,
        senders: Sequence[int],
        *,
        fan_in: int,
        segment_bytes_max: int,
    ) -> None:
        self.table = table
        self.partition = partition
        self._expected = tuple(senders)
        self._fan_in = fan_in
        self._segment_bytes_max = segment_bytes_max
        self.index: dict[int, tuple[Run, ...]] = {}
        self.meta = Meta()

    def load(self, keys: Iterable[bytes], meta: bytes | None) -> None:
        """Take over the state that a store holds.

        msgspec.DecodeError: a damaged checkpoint record. TableDefinitionError: the table was another one then.
        """
        self.index = segment.runs_of(iter(keys))
        self.meta = Meta() if meta is None else msgspec.json.decode(meta, type=Meta)
        if self.meta.definition not in ("", self.table.definition):
            raise TableDefinitionError(
                f"table {self.table.name!r} is defined otherwise than when its state was written; "
                "give the new definition a new name, or restore the old one"
            )

    def stream_time(self, sender: int) -> int | None:
        """The committed stream time of a sender (ms)."""
        return self.meta.senders.get(sender, (None, False))[0]

    def apply(self, change: Change) -> None:
        """Make a committed change the state."""
        self.index = change.index
        self.meta = change.meta

    def prepare(
        self,
        partials: Sequence[pl.DataFrame],
        progress: Mapping[int, Progress],
        read: ReadSegments,
        positions: Mapping[str, int],
    ) -> Change | None:
        """What the checkpoint of these partials and senders' progress changes; None: nothing.

        `read` gives the committed segments of the keys. The state itself stays as it is.
        """
        senders = {sender: Progress(*entry) for sender, entry in self.meta.senders.items()}
        news = {sender: item for sender, item in progress.items() if senders.get(sender) != item}
        if not partials and not news:
            return None
        senders.update(news)
        before = self.meta.watermark
        now = watermark(before, self._expected, senders)
        change = Change(self.table, self.partition, index=dict(self.index))
        change.meta = Meta(
            self.meta.sequence + 1,
            now,
            {sender: (item.time, item.idle) for sender, item in senders.items()},
            dict(positions),
            self.table.definition,
        )
        deltas = self._split(partials, change, before)
        self._close(change, deltas, now, read)
        for pane, delta in deltas.items():
            self._append(change, pane, delta, read)
        self._forget(change, now)
        change.puts[META_KEY] = msgspec.json.encode(change.meta)
        return change

    def _split(
        self, partials: Sequence[pl.DataFrame], change: Change, closed_to: int | None
    ) -> dict[int, pl.DataFrame]:
        """The merged partials of each window; what came for a closed window is late."""
        if not partials:
            return {}
        merged = self.table.merge(partials)
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
            if closed_to is not None and self.table.window.closes_at(pane) <= closed_to:
                change.late.append(part)
            else:
                open_parts[pane] = part
        return open_parts

    def _close(
        self, change: Change, deltas: dict[int, pl.DataFrame], now: int | None, read: ReadSegments
    ) -> None:
        """Close the windows that the watermark has passed; takes their deltas out of `deltas`."""
        if now is None:
            return
        window = self.table.window
        panes = {pane for pane, runs in change.index.items() if runs[0].level != FINAL} | set(
            deltas
        )
        for pane in sorted(panes):
            if window.closes_at(pane) > now:
                continue
            frames = self._drop(change, pane, change.index.pop(pane, ()), read)
            if pane in deltas:
                frames.append(deltas.pop(pane))
            merged = self.table.merge(frames)
            change.closed.append(self.table.result(merged))
            if window.forgotten_at(pane) > now:
                self._write(change, pane, merged, FINAL)

    def _append(self, change: Change, pane: int, delta: pl.DataFrame, read: ReadSegments) -> None:
        """Add a delta as a new run, merging runs of one size class so that their number stays bounded."""
        runs = list(change.index.get(pane, ()))
        level = 0
        while True:
            same = [run for run in runs if run.level == level]
            if len(same) + 1 < self._fan_in:
                break
            delta = self.table.merge([*self._drop(change, pane, same, read), delta])
            runs = [run for run in runs if run.level != level]
            level += 1
        change.index[pane] = tuple(runs)
        self._write(change, pane, delta, level)

    def _forget(self, change: Change, now: int | None) -> None:
        """Drop the closed windows that are no longer kept."""
        if now is None:
            return
        for pane in [pane for pane in change.index if self.table.window.forgotten_at(pane) <= now]:
            for run in change.index.pop(pane):
                change.deletes += run.keys(pane)

    def _drop(
        self, change: Change, pane: int, runs: Iterable[Run], read: ReadSegments
    ) -> list[pl.DataFrame]:
        """Read runs that a merge or a close replaces, and delete them."""
        keys = [key for run in runs for key in run.keys(pane)]
        change.deletes += keys
        return [segment.decode(data) for data in read(keys)] if keys else []

    def _write(self, change: Change, pane: int, merged: pl.DataFrame, level: int) -> None:
        chunks = segment.encode(merged, self._segment_bytes_max)
        run = Run(level, change.meta.sequence, len(chunks))
        change.puts.update(zip(run.keys(pane), chunks, strict=True))
        change.index[pane] = (*change.index.get(pane, ()), run)

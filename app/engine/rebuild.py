"""Computing one table anew from its source, up to the offsets that its group has committed.

The state in the making is marked, so that no worker takes it for whole: the checkpoint record of before stays,
with the mark, until the last step writes the new one. Nothing is emitted. What the table had closed is closed
again, and what it had not is left to the worker, which closes and emits it: so each window is emitted once. A
window whose close had begun is left where it stood, if need be amid its keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import polars as pl

from app.codecs.record_batch import Fetch
from app.engine.batch_columns import OFFSET
from app.engine.language.batch import Batch, Update
from app.engine.language.table import Table
from app.engine.processing.intake import Intake, Taken
from app.engine.processing.repartition import split
from app.engine.processing.source import Source
from app.engine.processing.work import ReadSegments
from app.engine.state import segment
from app.engine.state.definition import DEFINITION_KEY, Definition
from app.engine.state.sizes import Budget, Sizes
from app.engine.state.stacks import Build, Stacks
from app.engine.state.table_partition import FORMAT, META_KEY, Change, Meta, TablePartition
from app.engine.state.watermark import Progress


@dataclass(frozen=True)
class Earlier:
    """What a table partition's changelog holds before: its checkpoint record, definition, and segments' keys."""

    meta: Meta = field(default_factory=Meta)
    definition: Definition | None = None
    segments: Sequence[bytes] = ()

    @classmethod
    def of(cls, keys: Iterable[bytes], meta: bytes | None, definition: bytes | None) -> Earlier:
        """Of any version that has written it."""
        return cls(
            Meta() if meta is None else msgspec.json.decode(meta, type=Meta),
            None if definition is None else msgspec.json.decode(definition, type=Definition),
            [key for key in keys if key not in (META_KEY, DEFINITION_KEY)],
        )

    def closing(self, table: Table) -> dict[int, Build]:
        """The closes to go on with: of windows that were to be closed and are not yet, if the table still has such."""
        before = self.meta.closed_before
        if before is None or not self._same_windows(table) or self.meta.format != FORMAT:
            return {}
        begun = {pane: build.done for pane, build in self.meta.builds.items() if build.closes}
        # a rebuild that was interrupted has said it all in the builds, and deleted segments
        kept = () if self.meta.rebuilding else {segment.pane_of(key) for key in self.segments}
        waiting = {pane for pane in kept if pane < before and pane not in self.meta.closed}
        if self.definition is None or self.definition.key != Definition.of(table, 0).key:
            begun = dict.fromkeys(begun, 0)  # what had been emitted was of other keys
        return {
            pane: Build(0, 0, (), begun.get(pane, 0), closes=True) for pane in {*begun, *waiting}
        }

    def closed_before(self, table: Table) -> int | None:
        """The start of the first window that had not been closed; those of another size are told by the time."""
        watermark = self.meta.watermark
        if not table.windowed:
            return None
        bounds = [] if watermark is None else [table.windowing.closed_before(watermark)]
        if self.meta.closed_before is not None and self._same_windows(table):
            bounds.append(self.meta.closed_before)
        return max(bounds, default=None)

    def _same_windows(self, table: Table) -> bool:
        known = self.definition
        return known is not None and known.window_ms == table.windowing.size_ms


@dataclass
class _Sender:
    """A source partition. stream_time: what had been committed, then how far it has come (ms)."""

    intake: Intake
    end: int
    stream_time: int | None = None
    ended: bool = False


class Rebuild:
    """The steps, in this order: `marks`, `clearings`, `take` and `checkpoint` until all is read, `finish` and
    `checkpoint` until nothing is `left`, `last`. The shell makes each a transaction, and keeps the segments in a
    store; `apply` says that one has committed.

    earlier: of each partition of the table. ends: the committed offset of each source partition; up to there
    it counts. stream_times: of source partitions (ms), as they were committed for the table.
    """

    def __init__(
        self,
        table: Table,
        source: Source,
        earlier: Mapping[int, Earlier],
        ends: Mapping[int, int],
        stream_times: Mapping[int, int],
        *,
        sizes: Sizes,
    ) -> None:
        self.table = table
        self.staged_bytes = 0
        self.events = 0
        self._source = source
        self._earlier = dict(earlier)
        self._sizes = sizes
        self._before = dict(stream_times)
        self._senders = {number: _Sender(Intake(table, None), end) for number, end in ends.items()}
        self._starts: dict[int, int] = {}
        self._partials: dict[int, list[pl.DataFrame]] = {}
        self._items: dict[int, TablePartition] = {}
        self._closing = {number: known.closing(table) for number, known in self._earlier.items()}
        self._unclosed: dict[int, Stacks] = {}
        for number, known in self._earlier.items():
            senders = (number,) if table.aligned else tuple(self._senders)
            item = TablePartition(table, number, senders, len(self._earlier), sizes)
            item.meta = Meta(known.meta.sequence)  # no name of a segment comes back
            self._items[number] = item

    def marks(self) -> list[Change]:
        """Says that the state is not whole from now on, and what was being closed."""
        return [
            self._put(
                number,
                msgspec.structs.replace(
                    known.meta, rebuilding=True, format=FORMAT, builds=self._closing[number]
                ),
            )
            for number, known in self._earlier.items()
        ]

    def clearings(self) -> list[Change]:
        """Deletes the segments of before."""
        return [
            Change(self.table, number, {}, list(known.segments))
            for number, known in self._earlier.items()
            if known.segments
        ]

    def decode(self, fetch: Fetch) -> list[Batch]:
        """The events of a fetch that count."""
        end = self._senders[fetch.partition].end
        start = self._starts.setdefault(fetch.partition, fetch.start)
        batches = self._source.decode(fetch, read_from=start).batches
        counted = [batch.part(0, int((batch.frame[OFFSET] < end).sum())) for batch in batches]
        return [batch for batch in counted if len(batch)]

    def take(self, batch: Batch, updates: Iterable[Update] = ()) -> None:
        """Count a batch, or what agents have made of it for the table."""
        table, sender = self.table, self._senders[batch.partition]
        if table.fed_by is None:
            if batch.cls is table.source and len(events := batch.for_all()):
                self._taken(batch.partition, sender.intake.take(events.frame))
        elif batch.cls is table.fed_by:
            rows = [update.frame for update in updates if update.table is table]
            made = pl.concat(rows) if rows else None
            self._taken(batch.partition, sender.intake.feed(batch.frame, made))
        self.events += len(batch)

    def ended(self, partition: int) -> None:
        """All of a source partition is read: it holds no window open any more."""
        self._senders[partition].ended = True

    def _taken(self, partition: int, taken: Taken) -> None:
        self._senders[partition].stream_time = taken.stream_time
        if taken.partial is None:
            return
        self.staged_bytes += int(taken.partial.estimated_size())
        parts = (
            {partition: taken.partial}
            if self.table.aligned
            else split(self.table, taken.partial, len(self._items))
        )
        for number, part in parts.items():
            self._partials.setdefault(number, []).append(part)

    def checkpoint(self, read: ReadSegments) -> list[Change]:
        """What has been counted since the last one, as segments; the checkpoint records stay as they are."""
        budget = Budget(self._sizes.merge_bytes_max)
        changes: list[Change] = []
        for number, item in self._items.items():
            change = item.prepare(
                self._partials.pop(number, ()),
                self._progress(number),
                lambda keys, number=number: read(self.table.name, number, keys),  # type: ignore[misc]
                {},
                budget,
            )
            if change is not None:
                change.puts.pop(META_KEY)
                change.puts.pop(DEFINITION_KEY, None)
                changes.append(change)
        self.staged_bytes = 0
        return changes

    def apply(self, changes: Iterable[Change]) -> None:
        """These are committed, and in the store."""
        for change in changes:
            self._items[change.partition].apply(change)

    def finish(self) -> None:
        """All is read: what remains of the windows that had been closed is closed; those amid it are laid aside."""
        for number, item in self._items.items():
            known = self._earlier[number]
            self._unclosed[number], item.stacks = item.stacks.parted(self._closing[number])
            item.meta = msgspec.structs.replace(
                item.meta,
                watermark=known.meta.watermark,
                closed_before=known.closed_before(self.table),
            )

    @property
    def left(self) -> bool:
        """Whether it takes another checkpoint until all of them are."""
        return any(item.unfinished for item in self._items.values())

    def last(self, positions: Mapping[str, int]) -> list[Change]:
        """Makes it the state. positions: of the topic whose offsets move with it, as "topic/partition"."""
        changes = []
        for number, item in self._items.items():
            mine = [number] if self.table.aligned else list(self._senders)
            unclosed = self._unclosed[number]
            meta = msgspec.structs.replace(
                item.meta,
                senders={
                    sender: (time, False)
                    for sender in mine
                    if (time := self.stream_time(sender)) is not None
                },
                positions={
                    here: offset
                    for here, offset in positions.items()
                    if here.endswith(f"/{number}")
                },
                builds={
                    pane: build
                    for pane, build in self._closing[number].items()
                    if pane in unclosed.runs
                },
                format=FORMAT,
            )
            change = self._put(number, meta, item.definition_record)
            for pane, half in unclosed.halves.items():
                change.deletes += half.keys(pane)
            changes.append(change)
        return changes

    def stream_time(self, sender: int) -> int | None:
        """The stream time of a source partition (ms); never below what was committed: what was late stays late."""
        known = [self._before.get(sender)]
        if sender in self._senders:
            known.append(self._senders[sender].stream_time)
        if self.table.aligned:
            known.append(self._earlier[sender].meta.senders.get(sender, (None, False))[0])
        return max((time for time in known if time is not None), default=None)

    def _put(self, number: int, meta: Meta, definition: bytes | None = None) -> Change:
        puts = {META_KEY: msgspec.json.encode(meta)}
        if definition is not None:
            puts[DEFINITION_KEY] = definition
        return Change(self.table, number, puts, [], meta=meta)

    def _progress(self, number: int) -> dict[int, Progress]:
        """The senders' progress for a partition of the table: never beyond what it had closed to the end."""
        limit = self._earlier[number].meta.watermark
        if limit is None:
            return {}
        closing = self._closing[number]
        if closing:
            limit = min(limit, self.table.windowing.closes_at(min(closing)) - 1)
        return {
            sender: Progress(
                None if item.stream_time is None else min(item.stream_time, limit), item.ended
            )
            for sender, item in self._senders.items()
            if (sender == number or not self.table.aligned)
            and (item.ended or item.stream_time is not None)
        }

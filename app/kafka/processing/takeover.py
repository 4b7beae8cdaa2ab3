"""Taking partitions over: where to read on, and the state that belongs to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import structlog

from app.engine.processing.processor import Processor
from app.engine.processing.work import TopicPartition
from app.engine.state.store import StateRefusedError, Store
from app.engine.state.table_partition import TablePartition
from app.kafka.changelogs.restore import ChangelogRestore
from app.kafka.transactions.publisher import Committed

log = structlog.get_logger(__name__)

FirstOffsets = Callable[[Iterable[TopicPartition]], dict[TopicPartition, int]]


class StateAheadError(StateRefusedError):
    """A table's state holds events that the group has not committed: its offsets were reset, or are gone."""


@dataclass(frozen=True)
class Takeover:
    """The committed state of the partitions that were taken over.

    positions: next offset per (topic, partition). tables: per (table, partition). stream_times: per
    (topic, partition), the time (ms) of each table that is repartitioned. records: replayed, in seconds.
    """

    positions: dict[TopicPartition, int]
    tables: dict[TopicPartition, TablePartition]
    stream_times: dict[TopicPartition, dict[str, int]]
    records: int
    seconds: float

    def only(self, partitions: Collection[TopicPartition], processor: Processor) -> Takeover:
        """What is of some of the partitions alone."""
        tables = set(processor.tables_of(partitions))
        return Takeover(
            {here: at for here, at in self.positions.items() if here in partitions},
            {key: item for key, item in self.tables.items() if key in tables},
            {here: times for here, times in self.stream_times.items() if here in partitions},
            self.records,
            self.seconds,
        )


def take_over(
    partitions: Collection[TopicPartition],
    committed: Committed,
    *,
    processor: Processor,
    restore: ChangelogRestore,
    store: Store,
    first_offsets: FirstOffsets,
    log_starts: FirstOffsets,
) -> Takeover:
    """Bring the tables of these partitions up to their changelogs (blocks).

    committed: their stable committed offsets, read before: what they tell of is then surely below the
    changelogs' ends. Raises RestoreError, StateRefusedError, KafkaException.
    """
    started = time.monotonic()
    positions = {here: offset for here, (offset, _) in committed.items()}
    owned = processor.tables_of(partitions)
    processor.refuse_new(owned)
    records = restore.run(owned)
    tables: dict[TopicPartition, TablePartition] = {}
    for name, number in owned:
        item = tables[(name, number)] = processor.table_partition(name, number)
        item.load(store)
        _check_positions(item, partitions, committed)
    _tell_migrations(tables.values())
    fresh = first_offsets([here for here in partitions if here not in positions])
    for here, start in log_starts(positions).items():
        if start > positions[here]:  # retention was quicker than the worker
            log.error(
                "offsets.lost", topic=here[0], partition=here[1], first=positions[here], next=start
            )
            positions[here] = start
    return Takeover(
        {**fresh, **positions},
        tables,
        {here: note.stream_times for here, (_, note) in committed.items()},
        records,
        time.monotonic() - started,
    )


def _tell_migrations(tables: Iterable[TablePartition]) -> None:
    """Say, once for each table, that its state takes on another definition with its next checkpoint."""
    told = {item.table.name: item.migration for item in tables if item.migration}
    for name, migration in told.items():
        log.warning(
            "table.migrated",
            table=name,
            added=", ".join(migration.added) or "nothing",
            dropped=", ".join(migration.dropped) or "nothing",
            note="an added column counts from now on; faust -A app rebuild counts it from the source",
        )


def _check_positions(
    item: TablePartition, partitions: Collection[TopicPartition], committed: Committed
) -> None:
    """The state must not be ahead of the committed offsets: one transaction keeps them equal."""
    which = f"table {item.table.name!r}, partition {item.partition}"
    for text, position in item.meta.positions.items():
        topic, _, number = text.rpartition("/")
        here = (topic, int(number))
        if here in committed:
            offset, _ = committed[here]
            if position > offset:
                raise StateAheadError(
                    f"{which}: its state holds {text} up to {position}, but the group has committed only {offset}; the "
                    "offsets were reset by hand: rebuild the table from its source (faust -A app rebuild "
                    f"{item.table.name}), or give it a new name"
                )
        elif here in partitions:
            raise _gone(which, text, f", and its state holds it up to {position}")
    for sender, (time_ms, _) in item.meta.senders.items():
        # a repartitioned table counts what they have sent, not what they have read
        here = (item.table.topic, sender)
        if here not in committed:
            if here in partitions:
                raise _gone(which, f"{here[0]}/{sender}", ", of which its state has events")
            continue
        told = item.table.aligned or item.table.name in committed[here][1].stream_times
        if time_ms is not None and not told:
            raise StateAheadError(
                f"{which}: nothing is noted for it beside the committed offset of {here[0]}/{sender}, so that was set "
                f"by hand, or the table was left out for a while: rebuild it from its source (faust -A app rebuild "
                f"{item.table.name}), or give it a new name"
            )


def _gone(which: str, partition: str, held: str) -> StateAheadError:
    return StateAheadError(
        f"{which}: the group has no committed offset of {partition} any more{held}; it has expired (the broker's "
        "offsets.retention.minutes, without a worker), was deleted, or the topic was made anew: set it back, or give "
        "the table a new name, under which it counts all that the topic still has"
    )

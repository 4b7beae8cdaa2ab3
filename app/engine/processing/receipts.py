"""Which dead letters have been replayed: ranges of their offsets, as receipts on a topic of their own."""

from __future__ import annotations

from bisect import bisect_right

import msgspec

Range = tuple[int, int]
"""Offsets from the first to before the second."""


class Receipt(msgspec.Struct, frozen=True):
    """What one transaction has replayed of one partition.

    topic_id: Kafka's, of the dead-letter topic, so that a topic that was made anew begins with none.
    """

    topic_id: str
    partition: int
    ranges: tuple[Range, ...]


class Receipts:
    """All receipts of one dead-letter topic."""

    def __init__(self, topic_id: str) -> None:
        self.topic_id = topic_id
        self._ranges: dict[int, list[Range]] = {}
        self._unsorted: set[int] = set()

    def add(self, receipt: Receipt) -> None:
        """Take one in; those of another topic are passed over."""
        if receipt.topic_id == self.topic_id:
            self._ranges.setdefault(receipt.partition, []).extend(receipt.ranges)
            self._unsorted.add(receipt.partition)

    def has(self, partition: int, offset: int) -> bool:
        """Whether this dead letter has been replayed."""
        ranges = self._sorted(partition)
        at = bisect_right(ranges, offset, key=lambda item: item[0])
        return at > 0 and offset < ranges[at - 1][1]

    def first_without(self, partition: int, start: int) -> int:
        """The first offset from `start` on that has none."""
        for first, end in self._sorted(partition):
            if first > start:
                break
            start = max(start, end)
        return start

    def _sorted(self, partition: int) -> list[Range]:
        if partition in self._unsorted:
            self._unsorted.remove(partition)
            merged: list[Range] = []
            for first, end in sorted(self._ranges[partition]):
                if merged and first <= merged[-1][1]:
                    merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
                else:
                    merged.append((first, end))
            self._ranges[partition] = merged
        return self._ranges.get(partition, [])


class Writer:
    """Makes the receipts of one transaction. Offsets come in their order, partition by partition or mixed.

    A range goes over what lies between two letters that follow on each other: control records, aborted ones.
    """

    def __init__(self, topic_id: str) -> None:
        self._topic_id = topic_id
        self._ranges: dict[int, list[Range]] = {}
        self._open: dict[int, bool] = {}

    def take(self, partition: int, offset: int) -> None:
        """This dead letter is replayed."""
        ranges = self._ranges.setdefault(partition, [])
        if self._open.get(partition):
            ranges[-1] = (ranges[-1][0], offset + 1)
        else:
            ranges.append((offset, offset + 1))
        self._open[partition] = True

    def leave(self, partition: int) -> None:
        """The next dead letter of the partition is not."""
        self._open[partition] = False

    def receipts(self) -> list[Receipt]:
        """One per partition of which something is replayed."""
        return [
            Receipt(self._topic_id, partition, tuple(ranges))
            for partition, ranges in self._ranges.items()
        ]

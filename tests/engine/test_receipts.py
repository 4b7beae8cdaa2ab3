"""Receipts against plain sets of offsets."""

from __future__ import annotations

import random

import msgspec

from app.engine.processing.receipts import Receipt, Receipts, Writer
from tests.seeds import new_seed


def test_against_sets() -> None:
    """Random selections, in random cuts: a letter has a receipt exactly if it was taken."""
    chance = random.Random(new_seed())
    for _ in range(50):
        letters = {number: sorted(chance.sample(range(300), 100)) for number in range(3)}
        receipts, taken = Receipts("topic"), {number: set[int]() for number in letters}
        for _ in range(chance.randrange(1, 5)):
            share, writer = chance.random(), Writer("topic")
            for number, offsets in letters.items():
                for offset in offsets:
                    if offset in taken[number]:
                        continue
                    if chance.random() < share:
                        writer.take(number, offset)
                        taken[number].add(offset)
                    else:
                        writer.leave(number)
                    if chance.random() < 0.05:
                        _add(receipts, writer)
                        writer = Writer("topic")
            _add(receipts, writer)
        for number, offsets in letters.items():
            assert {item for item in offsets if receipts.has(number, item)} == taken[number]
            first = receipts.first_without(number, offsets[0])
            assert {item for item in offsets if item < first} <= taken[number]
            assert not receipts.has(number, first)


def test_receipts_of_another_topic() -> None:
    receipts = Receipts("new")
    receipts.add(Receipt("old", 0, ((0, 10),)))
    assert not receipts.has(0, 5)
    assert receipts.first_without(0, 3) == 3


def test_as_written() -> None:
    writer = Writer("topic")
    for offset in (1, 3, 4):
        writer.take(0, offset)
    writer.leave(0)
    writer.take(0, 9)
    (receipt,) = writer.receipts()
    written = msgspec.json.encode(receipt)
    assert written == b'{"topic_id":"topic","partition":0,"ranges":[[1,5],[9,10]]}'
    assert msgspec.json.decode(written, type=Receipt) == receipt


def _add(receipts: Receipts, writer: Writer) -> None:
    for receipt in writer.receipts():
        receipts.add(receipt)

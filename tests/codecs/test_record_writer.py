"""Columns to record batches, read back by aiokafka."""

import random
from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codecs.murmur2 import partition as partition_of
from app.codecs.record_writer import (
    Packing,
    RecordColumns,
    write_batches,
)
from app.codecs.texts import Texts
from tests.codecs.record_batches import read

FRAME_BYTES = 15
"""Of an LZ4 frame around what cannot be compressed."""

keys = st.none() | st.text(max_size=20)
records = st.lists(
    st.tuples(
        keys, st.none() | st.binary(max_size=200), st.integers(0, 2**42), st.text(max_size=30)
    ),
    max_size=30,
)
headers = st.lists(st.tuples(st.text(max_size=10), st.binary(max_size=20)), max_size=4)


def columns(
    rows: list[tuple[Any, ...]], common: list[tuple[str, bytes]], id_prefix: bytes = b""
) -> RecordColumns:
    table = list(zip(*rows, strict=True)) or [[], [], [], []]
    return RecordColumns(
        "t",
        Texts.of(pl.Series(table[0], dtype=pl.String)),
        Texts.of(pl.Series(table[1], dtype=pl.Binary)),
        np.array(table[2], np.int64),
        Texts.of(pl.Series(table[3], dtype=pl.String)),
        common,
        id_prefix,
    )


@settings(deadline=None)
@given(
    records,
    headers,
    st.binary(max_size=80),
    st.integers(1, 5),
    st.integers(0, 9),
    st.sampled_from([0, 300, 1 << 20]),
)
def test_every_record_is_in_its_partition_in_order(
    rows: list[tuple[Any, ...]],
    common: list[tuple[str, bytes]],
    id_prefix: bytes,
    count: int,
    keyless: int,
    bytes_max: int,
) -> None:
    expected: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for key, value, timestamp, identity in rows:
        key = None if key is None else key.encode()
        place = keyless % count if key is None else partition_of(key, count)
        whole_id = id_prefix + identity.encode()
        expected[place].append((key, value, timestamp, (("ce_id", whole_id), *common)))
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for batch in write_batches(
        columns(rows, common, id_prefix),
        count,
        keyless_partition=keyless,
        packing=Packing(bytes_max),
    ):
        assert batch.topic == "t"
        assert batch.count == 1 or len(batch.payload) <= bytes_max + FRAME_BYTES
        found[batch.partition] += [
            (key, value, timestamp, tuple(own)) for key, value, timestamp, own in read(batch)
        ]
    assert found == expected


def test_batches_are_cut_by_bytes_and_take_turns() -> None:
    chance = random.Random(5)
    rows = [(f"k{number}", chance.randbytes(1000), number, "i") for number in range(1000)]
    batches = list(write_batches(columns(rows, []), 2, packing=Packing(20_000)))
    assert max(batch.count for batch in batches) < 20
    assert [batch.partition for batch in batches[:6]] == [0, 1, 0, 1, 0, 1]


def test_what_is_compressed_well_goes_into_few_batches() -> None:
    chance, packing = random.Random(5), Packing(20_000)
    for random_bytes, records_min in [(0, 90), (100, 80), (200, 70), (500, 30), (0, 85)]:
        values = [
            b"x" * (1000 - random_bytes) + chance.randbytes(random_bytes) for _ in range(2000)
        ]
        rows = [("k", value, number, "i") for number, value in enumerate(values)]
        batches = list(write_batches(columns(rows, []), 1, packing=packing))
        assert max(len(batch.payload) for batch in batches) <= 20_000
        assert len(rows) / len(batches) > records_min, (
            "of what was known before, or of no more than 5 times"
        )


def test_a_record_larger_than_a_batch_stands_alone() -> None:
    rows = [("a", b"x", 1, "i"), ("a", b"y" * 5000, 2, "j"), ("a", b"z", 3, "k")]
    batches = list(write_batches(columns(rows, []), 1, packing=Packing(1000)))
    assert [[value for _, value, *_ in read(batch)] for batch in batches] == [
        [b"x"],
        [b"y" * 5000],
        [b"z"],
    ]


def test_a_large_record_does_not_make_other_batches_large() -> None:
    chance = random.Random(5)
    rows = [
        ("a", chance.randbytes(50_000), 0, "i"),
        *(("a", chance.randbytes(100), number, "i") for number in range(999)),
    ]
    first, *others = write_batches(columns(rows, []), 1, packing=Packing(2000))
    assert first.count == 1
    assert max(batch.count for batch in others) < 20


def test_what_the_producer_adds() -> None:
    (batch,) = write_batches(columns([("a", b"x", 7, "i")], []), 1)
    found = MemoryRecords(bytes(batch.sealed(5, 3, 11))).next_batch()
    assert (found.producer_id, found.producer_epoch, found.base_sequence) == (5, 3, 11)
    assert found.is_transactional
    assert not MemoryRecords(bytes(batch.sealed())).next_batch().is_transactional

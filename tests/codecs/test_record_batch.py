"""Parsing record batches, against aiokafka's own parser."""

from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codecs.record_batch import CorruptRecordBatch, Fetch, Records, parse
from app.kafka.fetching.transport import _PartitionRecords as PartitionRecords  # aiokafka's own
from tests.codecs.record_batches import (
    ABORT_MARKER,
    COMMIT_MARKER,
    LOG_APPEND_TIME,
    LZ4,
    NONE,
    SNAPPY,
    TRANSACTIONAL,
    Record,
    build_batch,
    control_batch,
    sealed,
)

Row = tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]


def rows_of(records: Records) -> list[Row]:
    return [
        (
            int(records.offset[row]),
            int(records.timestamp[row]),
            records.key(row),
            records.value(row),
            records.headers(row),
        )
        for row in range(len(records))
    ]


def rows_by_aiokafka(fetch: Fetch) -> list[Row]:
    records = PartitionRecords(
        TopicPartition(fetch.topic, fetch.partition),
        MemoryRecords(fetch.raw),
        list(fetch.aborted),
        fetch.start,
        None,
        None,
        True,
        READ_COMMITTED,
    )
    return [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in records]


def fetch_of(raw: bytes, start: int = 0, aborted: tuple[tuple[int, int], ...] = ()) -> Fetch:
    return Fetch("orders", 3, start, 1 << 40, raw, aborted)


nullable_bytes = st.none() | st.binary(max_size=200)
timestamps = st.integers(0, 2**41) | st.integers(1_790_000_000_000, 1_790_000_100_000)
headers = st.lists(st.tuples(st.text(max_size=20), nullable_bytes), max_size=4)
records = st.builds(Record, timestamps, nullable_bytes, nullable_bytes, headers)


@st.composite
def fetches(draw: st.DrawFn) -> Fetch:
    """Several batches of several producers, some in transactions, with gaps between offsets.

    As with a broker's answer, `start` is before the end of the first batch.
    """
    raw, offset = b"", draw(st.integers(0, 2**40))
    start = offset
    aborted = []
    for _ in range(draw(st.integers(0, 4))):
        producer = draw(st.integers(1, 2))
        flags = draw(st.sampled_from([0, 0, TRANSACTIONAL, LOG_APPEND_TIME]))
        content = draw(st.lists(records, min_size=1, max_size=8))
        if not raw:
            start += draw(st.integers(0, len(content) - 1))
        raw += build_batch(
            content,
            base_offset=offset,
            codec=draw(st.integers(0, 4)),
            producer=producer,
            flags=flags,
            timestamp_max=draw(timestamps) if flags == LOG_APPEND_TIME else None,
        )
        first, offset = offset, offset + len(content)
        if flags == TRANSACTIONAL:
            marker = draw(st.sampled_from([COMMIT_MARKER, ABORT_MARKER]))
            if marker == ABORT_MARKER:
                aborted.append((producer, first))
            raw += control_batch(offset, producer, marker)
            offset += 1
        offset += draw(st.integers(0, 3))
    cut = draw(st.just(0) | st.integers(0, 300))
    raw = raw[: len(raw) - cut]
    return fetch_of(raw, start, tuple(draw(st.permutations(aborted))))


@settings(max_examples=120, deadline=None)
@given(fetches())
def test_same_records_as_aiokafka(fetch: Fetch) -> None:
    assert rows_of(parse(fetch, check_crc=True)) == rows_by_aiokafka(fetch)


@pytest.mark.parametrize("codec", range(5))
def test_many_records(codec: int) -> None:
    content = [Record(i, b"key-%d" % i, b"%d" % i * (i % 97)) for i in range(5000)]
    fetch = fetch_of(build_batch(content, codec=codec, base_offset=70), start=1000)
    rows = rows_of(parse(fetch, check_crc=True))
    assert rows == rows_by_aiokafka(fetch)
    assert len(rows) == 5070 - 1000


@pytest.mark.parametrize("codec", range(1, 5))
def test_highly_compressed_batch_makes_the_buffer_grow(codec: int) -> None:
    content = [Record(0, None, bytes(3_000_000)), Record(1, None, b"last")]
    plain = build_batch([Record(0, b"k", b"first")])
    raw = plain + build_batch(content, codec=codec, base_offset=1)
    parsed = parse(fetch_of(raw), check_crc=True)
    assert [parsed.value(row) for row in range(3)] == [b"first", bytes(3_000_000), b"last"]
    with pytest.raises(CorruptRecordBatch, match="takes more than 100000 bytes"):
        parse(fetch_of(raw), check_crc=True, decompressed_bytes_max=100_000)


def test_xerial_snappy_of_the_java_client() -> None:
    content = [Record(i, b"k", b"v" * 100) for i in range(2000)]  # several blocks
    fetch = fetch_of(build_batch(content, codec=SNAPPY, xerial=True))
    assert rows_of(parse(fetch, check_crc=True)) == rows_by_aiokafka(fetch)


def test_uncompressed_batches_are_not_copied() -> None:
    fetch = fetch_of(build_batch([Record(0, b"key", b"value")]))
    parsed = parse(fetch, check_crc=True)
    assert parsed.buffer.base is fetch.raw or parsed.buffer.tobytes() == fetch.raw
    assert not parsed.buffer.flags.owndata


def test_interleaved_transactions_of_two_producers() -> None:
    def data(offset: int, producer: int) -> bytes:
        value = b"%d" % offset
        flags = TRANSACTIONAL
        return build_batch(
            [Record(0, None, value)], base_offset=offset, producer=producer, flags=flags
        )

    raw = b"".join(
        [
            data(0, 1),
            data(1, 2),
            control_batch(2, 1, ABORT_MARKER),
            data(3, 1),
            control_batch(4, 2, COMMIT_MARKER),
            control_batch(5, 1, COMMIT_MARKER),
            data(6, 1),  # of a transaction that is aborted later than this fetch
        ]
    )
    fetch = fetch_of(raw, 0, ((1, 6), (1, 0)))
    rows = rows_of(parse(fetch, check_crc=True))
    assert [row[0] for row in rows] == [1, 3]
    assert rows == rows_by_aiokafka(fetch)


def test_without_aborted_transactions_all_records_are_visible() -> None:
    flags = TRANSACTIONAL
    raw = build_batch([Record(0, None, b"a")], producer=1, flags=flags) + control_batch(
        1, 1, ABORT_MARKER
    )
    assert [row[0] for row in rows_of(parse(fetch_of(raw), check_crc=True))] == [0]


def test_empty_and_cut_fetches() -> None:
    raw = build_batch([Record(0, b"key", b"value")])
    for size in range(len(raw)):
        assert len(parse(fetch_of(raw[:size]), check_crc=True)) == 0


def test_batch_emptied_by_compaction() -> None:
    raw = bytearray(build_batch([Record(0, b"key", b"value")])[:61])
    raw[57:61] = bytes(4)
    parsed = parse(fetch_of(sealed(bytes(raw))), check_crc=True)
    assert len(parsed) == 0


@pytest.mark.parametrize("magic", [0, 1, 3, 127])
def test_other_message_formats_are_named(magic: int) -> None:
    raw = bytearray(build_batch([Record(0, b"key", b"value")], base_offset=17))
    raw[16] = magic
    with pytest.raises(CorruptRecordBatch, match=f"message format {magic} is not supported"):
        parse(fetch_of(bytes(raw)), check_crc=True)


def test_the_error_says_where() -> None:
    raw = bytearray(build_batch([Record(0, b"key", b"value")], base_offset=17))
    raw[-1] ^= 1
    with pytest.raises(CorruptRecordBatch, match=r"orders\[3\] at offset 17: the checksum") as info:
        parse(fetch_of(bytes(raw)), check_crc=True)
    assert (info.value.topic, info.value.partition, info.value.offset) == ("orders", 3, 17)


def _attempt(raw: bytes, *, check_crc: bool) -> Any:
    """The rows, all of which lie within the buffer, or None if the batch is corrupt."""
    try:
        parsed = parse(fetch_of(raw), check_crc=check_crc)
    except CorruptRecordBatch:
        return None
    for start, length in (
        (parsed.key_start, parsed.key_length),
        (parsed.value_start, parsed.value_length),
    ):
        assert (start >= 0).all() and (length >= -1).all()
        assert (start + length <= len(parsed.buffer)).all()
    return rows_of(parsed)


@settings(max_examples=150, deadline=None)
@given(st.lists(records, min_size=1, max_size=5), st.integers(0, 4), st.data())
def test_damaged_bytes_never_pass_the_checksum(
    content: list[Record], codec: int, data: st.DataObject
) -> None:
    raw = bytearray(build_batch(content, codec=codec))
    at = data.draw(st.integers(17, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    assert _attempt(bytes(raw), check_crc=True) is None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(records, min_size=1, max_size=5), st.sampled_from([NONE, NONE, LZ4, SNAPPY]), st.data()
)
def test_damaged_bytes_without_checksums_never_crash(
    content: list[Record], codec: int, data: st.DataObject
) -> None:
    raw = bytearray(build_batch(content, codec=codec))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(
            st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]) | st.integers(0, 255)
        )
    _attempt(bytes(raw), check_crc=False)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1000) | st.integers(-(2**31), 2**31 - 1), st.binary(max_size=200))
def test_random_bytes_as_records_never_crash(count: int, body: bytes) -> None:
    raw = bytearray(build_batch([Record(0, b"key", b"value")])[:61]) + body
    raw[57:61] = count.to_bytes(4, "big", signed=True)
    fetch = fetch_of(sealed(bytes(raw)))
    expected: list[Row] | None
    try:
        expected = rows_by_aiokafka(fetch)
    except Exception:
        expected = None
    if count < 0:
        expected = None  # aiokafka reads it as an empty batch
    assert _attempt(fetch.raw, check_crc=True) == expected

"""No kernel reads or writes a byte outside its arrays, whatever the bytes it is given.

The arrays lie at pages that must not be touched, so a step beyond them ends the process: the work
is done in a child process, which says what it was at.
"""

import faulthandler
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from app.codecs import (
    compression,
    json_by_kernel,
    json_writer,
    murmur2,
    record_batch,
    record_writer,
    records,
)
from app.codecs.crc32c_kernel import crc32c, crc32c_tables
from app.codecs.json_columns import JsonColumns
from app.codecs.json_writer import json_texts
from app.codecs.kernel import read_only
from app.codecs.murmur2_kernel import assign
from app.codecs.record_batch import CorruptRecordBatch, Fetch, Records, event_types, parse
from app.codecs.record_writer import Packing, RecordColumns, write_batches
from app.codecs.texts import Texts
from tests.codecs.guarded import GuardedNumpy, guarded, guarded_empty
from tests.codecs.json_events import COLUMNS, KEYS, ODD_NUMBERS, ODD_TEXTS, Flat, packed
from tests.codecs.record_batches import COMPRESSORS, HEADER_BYTES, Record, build_batch, sealed

SECONDS = 0.7  # per fuzzer
ALLOCATING = (
    compression,
    json_by_kernel,
    json_writer,
    murmur2,
    record_batch,
    record_writer,
    records,
)

TEXTS = [
    '""',
    '"abc"',
    '"exactly 12 b"',
    '"thirteen byte"',
    f'"{"long " * 40}"',
    '"' + "\\u00e9" * 20 + '"',
    '"' + "\\ud83d\\ude00" * 9 + '"',
    '"' + "€😀é" * 7 + '"',
    *ODD_TEXTS,
]
FRAGMENTS = [
    *(b'{ } [ ] " \\ , : - . e \\u \\ud83d \\ud83d\\ude00 \\u00 tru fals nul {"a": [['.split()),
    *(b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xff", b"\0", b" " * 20, b"1" * 8, b"1" * 24),
]
VARINTS = [
    *(b"\xff" * 10, b"\xff" * 9 + b"\x01", b"\xfe" * 9 + b"\x01", b"\xff\xff\xff\xff\x0f"),
    *(b"\xfe\xff\xff\xff\x0f", b"\x01", b"\x00", b"\x80"),
]


def damaged(rng: random.Random, value: bytes, pieces: list[bytes]) -> bytes:
    """A value with bytes replaced, taken out, put in or cut off."""
    damage = bytearray(value)
    for _ in range(rng.randint(0, 3)):
        at, piece = rng.randint(0, len(damage)), rng.choice(pieces)
        edit = rng.randrange(5)
        if edit == 0:
            damage[at:] = piece
        elif edit == 1:
            damage[at:at] = piece
        elif edit == 2:
            damage[at : at + len(piece)] = piece
        elif edit == 3:
            del damage[at : at + rng.randint(1, 9)]
        else:
            del damage[at:]
    return bytes(damage)


def event(rng: random.Random) -> bytes:
    """An object that is nearly a `Flat`."""
    keys = [key for key in KEYS if key in KEYS[:5] or rng.random() < 0.7]
    if rng.random() < 0.2:
        rng.shuffle(keys)
    spaced = rng.choice([",", ",", ",", " , "])
    members = []
    for key in keys:
        number = rng.choice([str(rng.randrange(10 ** rng.randint(1, 19))), *ODD_NUMBERS])
        short = "true" if key in ("ok", "flag") else number
        text = rng.choice(TEXTS) if key in ("id", "user", "note", "short") else short
        members.append(f'"{key}":{text}')
    return damaged(rng, ("{" + spaced.join(members) + "}").encode(), FRAGMENTS)


def fuzz_json(rng: random.Random, at_end: bool) -> None:
    columns = rng.sample(COLUMNS, rng.randint(1, len(COLUMNS)))
    decoder, plain = JsonColumns(Flat, columns), JsonColumns(Flat, columns)
    for _ in range(3):  # with what was learned before
        values = [event(rng) for _ in range(rng.choice([1, 2, 9]))]
        given = packed(values, rng.choice([0, 0, 1, 63, 64]))
        buffer, starts, lengths = (guarded(array, at_end=at_end) for array in given)
        end = len(buffer) if rng.random() < 0.5 else int(starts[-1] + lengths[-1])
        buffer = guarded(buffer[:end], at_end=at_end)
        found = decoder.decode_with_kernel(buffer, starts, lengths)
        expected = plain.decode_with_msgspec(buffer, starts, lengths)
        assert found.rejected == expected.rejected
        assert found.frame.equals(expected.frame)


def batch(rng: random.Random) -> bytes:
    """A batch of which nearly everything may be damaged."""
    made = []
    for _ in range(rng.randint(0, 4)):
        key, value = (rng.choice([None, b"", b"k", rng.randbytes(30)]) for _ in range(2))
        name = rng.choice(["ce_type", "content-type", "", "ce_typ"])
        text = rng.choice([None, b"", b"sample", b"application/cloudevents+json"])
        made.append(Record(5, key, value, [(name, text)] * rng.randint(0, 2)))
    raw = bytearray(build_batch(made))
    body = damaged(rng, bytes(raw[HEADER_BYTES:]), VARINTS)
    codec = rng.choice([0, 0, *COMPRESSORS])
    if codec:
        body = damaged(rng, COMPRESSORS[codec](body), VARINTS) if body else body
    raw[22] = codec
    if rng.random() < 0.1:
        raw[57:61] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x02"])
    return sealed(bytes(raw[:HEADER_BYTES]) + body)


def fuzz_batches(rng: random.Random, at_end: bool) -> None:
    raw = b"".join(batch(rng) for _ in range(rng.randint(1, 3)))
    raw = damaged(rng, raw, VARINTS) if rng.random() < 0.1 else raw
    fetch = Fetch("t", 0, 0, 0, raw, rng.choice([(), ((5, 0),)]))
    try:
        found = parse(fetch, check_crc=rng.random() < 0.5, decompressed_bytes_max=1 << 14)
    except CorruptRecordBatch:
        return
    columns = [getattr(found, name) for name in Records.__slots__]
    found = Records(*(guarded(column, at_end=at_end) for column in columns))
    event_types(found, rng.choice([["sample"], [], ["samples", "x" * 30]]))
    keys = [found.key(row) or b"" for row in range(len(found))]
    if keys:
        murmur2.partitions(pl.Series("key", keys, pl.Binary)[rng.randint(0, 1) :], 7)
    JsonColumns(Flat, COLUMNS).decode_with_kernel(
        found.buffer, found.value_start, found.value_length
    )


def fuzz_sums(rng: random.Random, at_end: bool) -> None:
    data = guarded(np.frombuffer(rng.randbytes(rng.randint(0, 40)), np.uint8), at_end=at_end)
    cuts = guarded_empty(5, np.int64, at_end=at_end)
    cuts[:] = np.sort([rng.randint(0, len(data)) for _ in range(5)])
    sums, again = (guarded_empty(4, np.uint32, at_end=at_end) for _ in range(2))
    crc32c(data, cuts[:-1], cuts[1:], sums)
    crc32c_tables(data, cuts[:-1], cuts[1:], again)
    assert again.tolist() == sums.tolist()
    keys = Texts.within(data, cuts[:-1].copy(), np.diff(cuts))
    assign(read_only(keys.address), read_only(keys.length), 7, guarded_empty(4, np.int32))


def texts(rng: random.Random, count: int, at_end: bool) -> Texts:
    """Byte strings that touch each other and the pages; some are nulls."""
    lengths = np.array([rng.choice([0, 1, 7, 8, 9, 40]) for _ in range(count)], np.int64)
    data = np.frombuffer(rng.randbytes(int(lengths.sum())), np.uint8)
    starts = np.cumsum([0, *lengths[:-1].tolist()], dtype=np.int64)[:count]
    lengths[[rng.random() < 0.2 for _ in range(count)]] = -1
    return Texts.within(guarded(data, at_end=at_end), starts, lengths)


def fuzz_writers(rng: random.Random, at_end: bool) -> None:
    count = rng.randint(1, 8)
    key, value, identity = (texts(rng, count, at_end) for _ in range(3))
    times = np.array([rng.choice([0, 5, 2**62, -(2**62)]) for _ in range(count)], np.int64)
    common = [("h" * rng.randint(0, 3), rng.randbytes(rng.randint(0, 9)))] * rng.randint(0, 2)
    prefix = rng.randbytes(rng.choice([0, 1, 30]))
    columns = RecordColumns(
        "t", key, value, guarded(times, at_end=at_end), identity, common, prefix
    )
    for made in write_batches(columns, 2, packing=Packing(rng.choice([0, 100, 400]))):
        found = parse(Fetch("t", 0, 0, 0, bytes(made.sealed())), check_crc=True)
        assert len(found) == made.count
    words = ["", "a" * 7, '"' * 8, "\0" * 9, "\\" * rng.randint(0, 40), "é😀", None]
    numbers = [-(2**63), 2**63 - 1, 0, None]
    floats = [-1.7976931348623157e308, -0.1234567890123, 1e15 - 0.5, -(2.0**53) + 1, 0.0, None]
    frame = pl.DataFrame(
        {
            name: pl.Series([rng.choice(choices) for _ in range(count)], dtype=kind)
            for name, choices, kind in (
                ("t", words, pl.String),
                ("i", numbers, pl.Int64),
                ("f", floats, pl.Float64),
                ("b", [True, False, None], pl.Boolean),
            )
        }
    )
    assert json_texts(frame.select(rng.sample(frame.columns, rng.randint(1, 4)))).to_list()


def fuzz() -> None:
    """Run each fuzzer for a while. The last seed written is the guilty one."""
    faulthandler.enable()
    for fuzzer in (fuzz_json, fuzz_batches, fuzz_sums, fuzz_writers):
        fuzzer(random.Random(-1), True)  # compiles
        seed, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end:
            sys.stderr.write(f"{fuzzer.__name__} {seed}\n")
            at_end = seed % 4 != 3
            for module in ALLOCATING:
                module.np = GuardedNumpy(at_end=at_end)  # type: ignore[attr-defined]
            fuzzer(random.Random(seed), at_end)
            seed += 1


def overrun() -> None:
    """What the fuzzers must notice: a key of nine bytes where there are eight."""
    keys = Texts.within(guarded(np.zeros(8, np.uint8)), np.array([0]), np.array([9]))
    assign(read_only(keys.address), read_only(keys.length), 7, np.empty(1, np.int32))


def in_child(function: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    code = f"from tests.codecs import test_memory; test_memory.{function.__name__}()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_nothing_outside_the_arrays_is_touched() -> None:
    child = in_child(fuzz)
    assert child.returncode == 0, child.stderr[-3000:]


def test_a_step_outside_an_array_is_noticed() -> None:
    assert in_child(overrun).returncode == -signal.SIGSEGV


@pytest.mark.parametrize(
    ("start", "length"),
    [(2**63 - 10, 18), (2**63 - 1, -1), (1, 2**63 - 1), (1, 18), (-1, 5)],
)
def test_values_outside_the_buffer_are_refused_even_where_sums_wrap_round(
    start: int, length: int
) -> None:
    decoder = JsonColumns(Flat, ["id"])
    buffer = np.zeros(18, np.uint8)
    for decode in (decoder.decode_with_kernel, decoder.decode_with_msgspec):
        with pytest.raises(ValueError, match="beyond the buffer"):
            decode(buffer, np.array([0, start], np.int64), np.array([5, length], np.int64))


def test_a_byte_that_finds_no_room_is_not_counted() -> None:
    """An uncompressed batch of one byte, behind a compressed one that fills the buffer."""
    full = np.zeros(4, np.uint8)
    buffer, used = compression.decompress(0, memoryview(b"x"), full, 4, 100)
    assert (used, len(buffer) >= used, buffer[4]) == (5, True, ord("x"))


@pytest.mark.parametrize("codec", COMPRESSORS)
def test_codecs_stay_within_a_buffer_that_is_full_to_the_last_byte(codec: int) -> None:
    data = b"headrace" * 40
    packed_data = guarded(np.frombuffer(COMPRESSORS[codec](data), np.uint8))
    target = guarded_empty(len(data), np.uint8)
    buffer, used = compression.decompress(codec, packed_data.data, target, 0, len(data))
    assert buffer is target
    assert buffer[:used].tobytes() == data
    short = guarded_empty(len(data) - 1, np.uint8)
    with pytest.raises(ValueError, match="takes more than"):
        compression.decompress(codec, packed_data.data, short, 0, len(data) - 1)


def test_a_frame_is_not_changed_by_what_is_decoded_after_it() -> None:
    rng = random.Random(5)
    decoder = JsonColumns(Flat, COLUMNS)
    kept = []
    for _ in range(30):
        frame = decoder.decode_with_kernel(*packed([event(rng) for _ in range(20)])).frame
        kept.append((frame, frame.rows()))
    for frame, rows in kept:
        assert frame.equals(pl.DataFrame(rows, frame.schema, orient="row"))

"""The JSON kernel against msgspec: the same accepted set, the same values bit for bit."""

import struct
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.codecs.json_columns import Decoded, JsonColumns
from app.codecs.json_kernel import decode as kernel_decode
from tests.codecs.json_events import COLUMNS, ODD_NUMBERS, Flat, packed, values

FULL = (
    b'{"id":"%s","time":%s,"amount":%s,"ok":true,"user":"u","count":1,"rate":2.5,"note":"n",'
    b'"short":"s","flag":false,"the count":12}'
)


def bits(frame: pl.DataFrame) -> list[Any]:
    """The values of a frame such that floats are equal only if all their bits are."""
    return [
        [None if value is None else struct.pack("<d", value) for value in column]
        if column.dtype == pl.Float64
        else column.to_list()
        for column in frame
    ]


def assert_same(found: Decoded, expected: Decoded) -> None:
    assert found.rejected == expected.rejected
    assert (found.rows is None) == (expected.rows is None)
    if found.rows is not None and expected.rows is not None:
        assert found.rows.dtype == np.int64
        assert found.rows.tolist() == expected.rows.tolist()
    assert found.frame.schema == expected.frame.schema
    assert bits(found.frame) == bits(expected.frame)


def by_kernel(value: bytes, event: type[msgspec.Struct] = Flat) -> bool:
    """Whether the kernel took a value without msgspec's help."""
    decoder = JsonColumns(event, event.__struct_fields__)
    kernel = decoder._kernel
    assert kernel is not None
    calls = []
    kernel._msgspec.decode = lambda given: calls.append(given) or ["unsure"] * len(given)  # type: ignore[method-assign]
    decoder.decode_with_kernel(*packed([value]))
    return not calls


@settings(max_examples=150, deadline=None)
@given(st.lists(values, max_size=12), st.sampled_from([0, 1, 31, 32, 100]))
@example([b'{"id":"a","time":1', b'2,"amount":1.0,"ok":true,"user":null}'], 0)
def test_kernel_and_msgspec_agree(given_values: list[bytes | None], padding: int) -> None:
    decoder = JsonColumns(Flat, COLUMNS)
    for _ in range(2):  # the second time with what was learned from the first
        arrays = packed(given_values, padding)
        assert_same(decoder.decode_with_kernel(*arrays), decoder.decode_with_msgspec(*arrays))


@settings(max_examples=100, deadline=None)
@given(st.lists(values, max_size=12), st.lists(st.sampled_from(COLUMNS), unique=True))
def test_columns_do_not_change_what_is_valid(
    given_values: list[bytes | None], columns: list[str]
) -> None:
    arrays = packed(given_values)
    some = JsonColumns(Flat, columns).decode_with_kernel(*arrays)
    everything = JsonColumns(Flat, COLUMNS).decode_with_msgspec(*arrays)
    assert some.rejected == everything.rejected
    assert bits(some.frame) == bits(everything.frame.select(columns))


@settings(max_examples=300, deadline=None)
@given(
    st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
)
def test_floats_have_the_same_bits(number: str) -> None:
    decoder = JsonColumns(Flat, ["amount"])
    arrays = packed([FULL % (b"a", b"1", number.encode())])
    assert_same(decoder.decode_with_kernel(*arrays), decoder.decode_with_msgspec(*arrays))


@pytest.mark.parametrize("field", range(1, 3))
def test_odd_numbers(field: int) -> None:
    decoder = JsonColumns(Flat, COLUMNS)
    fill = [b"a", b"1", b"1.0"]
    events = []
    for number in ODD_NUMBERS:
        fill[field] = number.encode()
        events.append(FULL % tuple(fill))
    arrays = packed(events)
    assert_same(decoder.decode_with_kernel(*arrays), decoder.decode_with_msgspec(*arrays))


def test_every_cut_of_an_event_is_rejected() -> None:
    decoder = JsonColumns(Flat, COLUMNS)
    event = FULL % (b"some id", b"123", b"1.5")
    arrays = packed([event[:size] for size in range(len(event))])
    found = decoder.decode_with_kernel(*arrays)
    assert_same(found, decoder.decode_with_msgspec(*arrays))
    assert len(found.rejected) == len(event)


def test_every_byte_in_every_place() -> None:
    event = b'{"id":"ab","time":12,"amount":1.5,"ok":true,"user":null}'
    decoder = JsonColumns(Flat, COLUMNS)
    decoder.decode_with_kernel(*packed([event]))
    for at in range(len(event)):
        mutants = [event[:at] + bytes([byte]) + event[at + 1 :] for byte in range(256)]
        arrays = packed(mutants, 40)
        assert_same(decoder.decode_with_kernel(*arrays), decoder.decode_with_msgspec(*arrays))


@pytest.mark.parametrize(
    "first", [0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0x80]
)
def test_utf8_sequences(first: int) -> None:
    edges = [0x00, 0x22, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF]
    texts = [bytes([first])]
    for _ in range(3):
        texts += [text + bytes([edge]) for text in texts[-200:] for edge in edges]
    decoder = JsonColumns(Flat, ["id"])
    arrays = packed([FULL % (text + b"abc", b"1", b"1.0") for text in texts])
    assert_same(decoder.decode_with_kernel(*arrays), decoder.decode_with_msgspec(*arrays))


@pytest.mark.parametrize("size", [0, 1, 4, 5, 7, 8, 12, 13, 16, 17, 100])
def test_texts_of_all_sizes(size: int) -> None:
    decoder = JsonColumns(Flat, ["id", "note"])
    texts = [bytes(97 + (i + j) % 26 for j in range(size)) for i in range(50)]
    found = decoder.decode_with_kernel(*packed([FULL % (text, b"1", b"1.0") for text in texts]))
    assert found.frame["id"].to_list() == [text.decode() for text in texts]


def test_the_kernel_itself_takes_usual_events() -> None:
    assert by_kernel(FULL % (b"some id", b"1790000000000", b"12.34"))
    assert by_kernel(FULL % ("Köln, 日本 🎉".encode(), b"-1", b"-0.5e-3"))
    assert by_kernel(b'{ "id": "a", "time": 1, "amount": 1, "ok": false, "user": null }\n')
    assert by_kernel(b'{"user":"u","x":[1,{"y":"}"}],"ok":true,"time":1,"id":"","amount":0.1}')
    assert by_kernel(FULL % (b"a", b"1", b"0.30000000000000004"))
    assert by_kernel(FULL % (rb"\n \u00e9 \ud83d\ude00 \\", b"1", b"12.34"))
    assert not by_kernel(FULL % (rb"\ud83d", b"1", b"12.34"))


@pytest.mark.parametrize(
    "wrong",
    [
        b',"id":"a","time":1,"amount":1.0,"ok":true,"user":null}',
        b'{"zzz":1{"id":"a","time":1,"amount":1.0,"ok":true,"user":null}',
        b'{"id":"a"{"time":1,"amount":1.0,"ok":true,"user":null}',
        b'{,"id":"a","time":1,"amount":1.0,"ok":true,"user":null}',
        b'{"id":"a",,"time":1,"amount":1.0,"ok":true,"user":null}',
        b'{"id":"a","time":1,"amount":1.0,"ok":true,"user":null',
        b'"id":"a","time":1,"amount":1.0,"ok":true,"user":null}',
        b'{"\x01":1,"id":"a","time":1,"amount":1.0,"ok":true,"user":null}',
    ],
)
def test_wrong_objects_teach_nothing_wrong(wrong: bytes) -> None:
    right = b'{"id":"a","time":1,"amount":1.0,"ok":true,"user":null}'
    for teacher in (wrong, right):
        decoder = JsonColumns(Flat, COLUMNS)
        decoder.decode_with_kernel(*packed([teacher]))
        for _ in range(2):
            found = decoder.decode_with_kernel(*packed([wrong, wrong]))
            assert [item.row for item in found.rejected] == [0, 1]


def test_forbidden_unknown_fields() -> None:
    class Strict(msgspec.Struct, forbid_unknown_fields=True):
        a: int

    decoder = JsonColumns(Strict, ["a"])
    arrays = packed([b'{"a":1}', b'{"a":1,"b":2}', b'{"b":2,"a":1}'])
    found = decoder.decode_with_kernel(*arrays)
    assert_same(found, decoder.decode_with_msgspec(*arrays))
    assert [item.row for item in found.rejected] == [1, 2]


def test_kernels_hold_no_stale_specialisations() -> None:
    """Arrays of other layouts or without write access must not compile the kernel again."""
    decoder = JsonColumns(Flat, COLUMNS)
    event = FULL % (b"a", b"1", b"1.0")
    buffer, starts, lengths = packed([event] * 4)
    expected = decoder.decode_with_kernel(buffer, starts[::2].copy(), lengths[::2].copy())
    before = len(kernel_decode.signatures)
    starts.flags.writeable = False
    found = decoder.decode_with_kernel(buffer.copy(), starts[::2], lengths[::2])
    assert_same(found, expected)
    assert len(kernel_decode.signatures) == before

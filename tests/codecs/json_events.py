"""Valid, invalid and nearly valid JSON, and how to hand it to a decoder."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st


class Flat(msgspec.Struct):
    """Every kind of field that the kernel knows."""

    id: str
    time: int
    amount: float
    ok: bool
    user: str | None
    count: int | None = None
    rate: float | None = 1.5
    note: str = "a default that is longer than an inline view"
    short: str | None = "né"
    flag: bool = True
    renamed: int = msgspec.field(default=-7, name="the count")


COLUMNS = list(Flat.__struct_fields__)
KEYS = list(Flat.__struct_encode_fields__)


def packed(values: Sequence[bytes | None], padding: int = 0) -> tuple[Any, Any, Any]:
    """(buffer, starts, lengths) of values that lie in a buffer with a byte between them."""
    buffer = b"9".join(value or b"" for value in values) + b"9" * padding
    lengths = np.array([-1 if value is None else len(value) for value in values], np.int64)
    starts = np.cumsum([0, *(np.maximum(lengths, 0) + 1)])[:-1]
    return np.frombuffer(buffer, np.uint8), starts.astype(np.int64), lengths


def json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# ruff: noqa: SIM905 -- a text of many words reads better than a list of them
ODD_NUMBERS = (
    "-0 0 -0.0 0.0 0e0 1e5 1E+5 1e-7 01 -01 1. - .5 +1 1e 1e+ 1e400 -1e400 1e-400 0.1e-400 NaN "
    "9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 "
    "18446744073709551615 18446744073709551616 123456789012345678901234567890 1e22 1e23 1e-22 "
    "1e-23 9007199254740992 9007199254740993 9007199254740991e22 9007199254740993.0 1.0 "
    "123456789.12345678901234567890 0.30000000000000004 5e-324 2.2250738585072011e-308 "
    "1.7976931348623157e308 1.7976931348623159e308 00 0x10 1_000 12345678 1234567812345678 "
    "123456781234567812345678 0.12345678 0.1234567812345678 1e00000000005 1e-00000005 "
    "9007199254740993e-1 4503599627370497.5 4503599627370498.5 -9.5367431640625e-7"
).split()
ODD_TEXTS = ['"\\n"', '"\\u00e9"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\q"', '"\t"', '"\x7f"', '"']
ODD_VALUES = (
    'true false null tru nul truefalse [] {} [1,[2]] {"a":{}} [1,] {,} \'\' "" [[]] [{}] '
    '{"a":1,"b":[true,null,"x"]} {"a"} {"a":} {"a":1,} [1 [1}] {"a":1] [,1] [1,,2] [01] ["\\q"] '
    '{"a":[{"b":[{}]}]} [[[[[[[[]]]]]]]] {1:2} [1]2'
).split()
SPACED_VALUES = ['[ 1 , { "a" : [ ] } ]', "{ }", '{"a" :\t1 , "b":\n{}}', "[1 2]", '{"a" 1}']

integers = st.integers(-(10**6), 10**6) | st.integers(-(2**64), 2**64)
numbers = (
    integers.map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.decimals(-1000, 1000, places=2).map(str)
    | st.sampled_from(ODD_NUMBERS)
)
escapes = st.lists(
    st.sampled_from(
        ["a", "\\u", '\\"', "\\/", "\\b", "\\x", "\\u00e9", "\\u20AC", "\\u0000", "\\u00g0"]
    )
    | st.sampled_from(
        ["\\ud83d", "\\uDE00", "\\udbff\\udfff", "\\ud800\\udc00", "\\ud83d\\u0041", "é"]
    ),
    max_size=6,
).map("".join)
texts = (
    st.text(max_size=30).map(json_text)
    | st.text("ab", max_size=40).map(json_text)
    | st.text(max_size=20).map(json.dumps)
    | escapes.map('"{}"'.format)
)
any_values = (
    numbers | texts | st.sampled_from(ODD_VALUES + SPACED_VALUES) | st.sampled_from(ODD_TEXTS)
)

FITTING = {
    "id": texts,
    "time": st.integers(0, 2**63 - 1).map(str),
    "amount": numbers,
    "ok": st.sampled_from(["true", "false"]),
    "user": texts | st.just("null"),
    "count": st.integers(-(2**63), 2**63 - 1).map(str) | st.just("null"),
    "rate": numbers | st.just("null"),
    "note": texts,
    "short": texts | st.just("null"),
    "flag": st.sampled_from(["true", "false"]),
    "the count": integers.map(str),
}


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """The JSON of an object that is, most often, a valid `Flat` or nearly one."""
    optional = set(draw(st.lists(st.sampled_from(KEYS[5:]), unique=True)))
    keys = [key for key in KEYS if key in KEYS[:5] or key in optional]
    odd = draw(st.integers(0, 9))
    if odd == 0:
        keys = draw(st.permutations(keys))
    elif odd == 1:
        keys.remove(draw(st.sampled_from(keys)))
    elif odd == 2:
        keys.insert(draw(st.integers(0, len(keys))), draw(st.sampled_from(keys)))
    elif odd == 3:
        keys.insert(draw(st.integers(0, len(keys))), draw(st.sampled_from(["x", "é", "idd", ""])))
    strange = draw(st.integers(0, 20))
    comma, colon = draw(st.sampled_from([(",", ":"), (",", ":"), (", ", ": "), ("\n,\t", " :\r")]))
    members = [
        json_text(key) + colon + draw(FITTING.get(key, any_values) if i != strange else any_values)
        for i, key in enumerate(keys)
    ]
    edge = draw(st.sampled_from(["", "", "", " ", "\r\n"]))
    return (edge + "{" + edge + comma.join(members) + edge + "}" + edge).encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An object with some bytes replaced, taken out, put in or cut off."""
    value = bytearray(draw(objects()))
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(value)))
        byte = draw(
            st.sampled_from(b'{}[],:"\\ 0123456789.eE+-truefalsn\x00\x1f\x7f\x80\xc3\xff\n')
        )
        edit = draw(st.integers(0, 3))
        if edit == 0:
            value[at : at + 1] = bytes([byte])
        elif edit == 1:
            del value[at : at + 1]
        elif edit == 2:
            value.insert(at, byte)
        else:
            del value[at:]
    return bytes(value)


values = st.one_of(
    objects(),
    objects(),
    damaged(),
    st.none(),
    st.sampled_from([b"", b" ", b"null", b"[]", b"{}", b"{ }", b"1", b'"a"', b"\xef\xbb\xbf{}"]),
)

"""JSON to columns: what is rejected and why, limits, and fields of other types."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import numpy as np
import polars as pl
import pytest

from app.codecs import json_columns
from app.codecs.json_columns import Decoded, JsonColumns, Rejected, warm_up
from tests.codecs.json_events import packed


class Order(msgspec.Struct):
    id: str
    amount: float
    quantity: int = 1


class Way:
    """Calls one of the two ways of decoding."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, decoder: JsonColumns, values: list[bytes | None]) -> Decoded:
        decoded: Decoded = getattr(decoder, self._name)(*packed(values))
        return decoded


@pytest.fixture(params=["decode_with_msgspec", "decode_with_kernel"])
def decode(request: pytest.FixtureRequest) -> Way:
    return Way(request.param)


def test_columns_in_the_order_asked_for(decode: Way) -> None:
    decoder = JsonColumns(Order, ["quantity", "id"])
    decoded = decode(decoder, [b'{"id":"a","amount":1.5}', b'{"quantity":2,"id":"b","amount":2}'])
    assert decoded.rows is None and decoded.rejected == []
    assert decoded.frame.to_dict(as_series=False) == {"quantity": [1, 2], "id": ["a", "b"]}
    assert decoded.frame.schema == {"quantity": pl.Int64, "id": pl.String}


def test_no_values_and_no_columns(decode: Way) -> None:
    decoded = decode(JsonColumns(Order, ["id", "amount"]), [])
    assert decoded.frame.schema == {"id": pl.String, "amount": pl.Float64}
    assert (len(decoded.frame), decoded.rows, decoded.rejected) == (0, None, [])
    decoded = decode(JsonColumns(Order, []), [b'{"id":"a","amount":1.5}', b"{}"])
    assert [item.row for item in decoded.rejected] == [1]


def test_reasons_name_the_field(decode: Way) -> None:
    huge = b'{"id":"a","amount":1,"quantity":9223372036854775808}'
    decoded = decode(
        JsonColumns(Order, ["id"]),
        [
            b'{"id":"good","amount":1}',
            None,
            b"",
            b'{"id":"a","amount":"x"}',
            b'{"id":"a"}',
            b'{"id":"\xff","amount":1}',
            b'{"id":"a","amount":1}}',
            huge,
            b"[1]",
            b'{"id":"good too","amount":1}',
        ],
    )
    assert decoded.frame["id"].to_list() == ["good", "good too"]
    assert decoded.rows is not None and decoded.rows.tolist() == [0, 9]
    assert decoded.rejected == [
        Rejected(1, "null value"),
        Rejected(2, "Input data was truncated"),
        Rejected(3, "Expected `float`, got `str` - at `$.amount`"),
        Rejected(4, "Object missing required field `amount`"),
        Rejected(5, "invalid UTF-8: invalid start byte (byte 0 of a string)"),
        Rejected(6, "JSON is malformed: trailing characters (byte 22)"),
        Rejected(7, "Integer 9223372036854775808 does not fit into 64 bits - at `$.quantity`"),
        Rejected(8, "Expected `object`, got `array`"),
    ]


def test_limits(decode: Way) -> None:
    decoder = JsonColumns(Order, ["id"], value_bytes_max=100, depth_max=3)

    def value(extra: bytes, size: int = 0) -> bytes:
        return (b'{"id":"a","amount":1,"x":' + extra + b"}").ljust(size)

    decoded = decode(
        decoder,
        [
            value(b"[[1]]", 100),
            value(b"[[1]]", 101),
            value(b"[[{}]]"),
            value(b'"[[[[{{{{"'),
            value(b'"\\"[[[[{{{{"'),
            value(b"[1],[2],[3]"[:3] + b',"y":[[]],"z":[[]]'),
            b"[" * 100,
        ],
    )
    assert decoded.rejected == [
        Rejected(1, "the value has 101 bytes, more than the limit of 100"),
        Rejected(2, "the value is nested deeper than the limit of 3"),
        Rejected(6, "the value is nested deeper than the limit of 3"),
    ]


def test_deep_nesting_never_reaches_the_recursion_limit(decode: Way) -> None:
    decoder = JsonColumns(Order, ["id"], depth_max=1 << 30)
    deep = b'{"id":"a","amount":1,"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    assert decode(decoder, [deep]).rejected == [Rejected(0, "the value is nested too deeply")]


def test_unterminated_strings_are_checked_in_linear_time(decode: Way) -> None:
    decoder = JsonColumns(Order, ["id"])
    poison = b'"' + b'\\"' * 400_000 + b"[" * 100
    assert len(decode(decoder, [poison]).rejected) == 1


def test_lines_that_would_pass_together_are_rejected_one_by_one(decode: Way) -> None:
    good = b'{"id":"a","amount":1}'
    values: list[bytes | None] = [good + b" " + good, b" ", b'{"id":"a",', b'"amount":1}', good]
    decoded = decode(JsonColumns(Order, ["id"]), values)
    assert [item.row for item in decoded.rejected] == [0, 1, 2, 3]


def test_line_breaks_within_values(decode: Way) -> None:
    values: list[bytes | None] = [b'{"id":"a",\n"amount":1}', b'{\n"id":"b","amount":2\n}']
    decoded = decode(JsonColumns(Order, ["id"]), values)
    assert decoded.frame["id"].to_list() == ["a", "b"]


def test_values_beyond_the_buffer_are_an_error(decode: Way) -> None:
    buffer, starts, lengths = packed([b'{"id":"a","amount":1}'])
    for start, length in ((starts + 1, lengths), (starts - 1, lengths), (starts, lengths + 1)):
        with pytest.raises(ValueError, match="beyond the buffer"):
            getattr(JsonColumns(Order, ["id"]), decode._name)(buffer, start, length)


def test_columns_that_are_no_fields() -> None:
    with pytest.raises(ValueError, match="Order has no field colour, price"):
        JsonColumns(Order, ["price", "id", "colour"])


class Colour(Enum):
    RED = "red"


class Place(msgspec.Struct):
    city: str
    zip: int | None = None


class Rich(msgspec.Struct):
    at: datetime
    tags: list[str]
    place: Place
    kind: Literal["a", "b"]
    size: Annotated[int, msgspec.Meta(ge=0)] = 3
    day: date | None = None
    took: timedelta | None = None
    colour: Colour | None = None
    uuid: UUID | None = None
    price: Decimal | None = None
    places: list[Place] = []
    counts: dict[str, int] = {}
    mixed: int | str | None = None
    anything: Any = None


def test_other_types_go_the_way_of_msgspec() -> None:
    decoder = JsonColumns(Rich, Rich.__struct_fields__)
    with pytest.raises(TypeError, match="flat events"):
        decoder.decode_with_kernel(*packed([b"{}"]))
    full = (
        b'{"at":"2026-01-01T02:00:00.123+02:00","tags":["x","y"],"place":{"city":"Bonn"},'
        b'"kind":"a","size":4,"day":"2026-01-02","took":"PT1.5S","colour":"red",'
        b'"uuid":"00000000-0000-0000-0000-000000000001","price":"1.10",'
        b'"places":[{"city":"Ulm","zip":7}],"counts":{"a":1},"mixed":"m","anything":[1,"z"]}'
    )
    bare = b'{"at":"2026-01-01T00:00:00","tags":[],"place":{"city":"Bonn"},"kind":"b"}'
    bad = bare.replace(b'"b"', b'"c"')
    negative = bare[:-1] + b',"size":-1}'
    decoded = decoder.decode(*packed([full, bare, bad, negative]))
    assert decoded.frame.schema == {
        "at": pl.Datetime("ms", "UTC"),
        "tags": pl.List(pl.String),
        "place": pl.Struct({"city": pl.String, "zip": pl.Int64}),
        "kind": pl.String,
        "size": pl.Int64,
        "day": pl.Date,
        "took": pl.Duration("ms"),
        "colour": pl.String,
        "uuid": pl.String,
        "price": pl.String,
        "places": pl.List(pl.Struct({"city": pl.String, "zip": pl.Int64})),
        "counts": pl.String,
        "mixed": pl.String,
        "anything": pl.String,
    }
    assert decoded.frame.row(0, named=True) == {
        "at": datetime(2026, 1, 1, 0, 0, 0, 123000, UTC),
        "tags": ["x", "y"],
        "place": {"city": "Bonn", "zip": None},
        "kind": "a",
        "size": 4,
        "day": date(2026, 1, 2),
        "took": timedelta(seconds=1.5),
        "colour": "red",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "price": "1.10",
        "places": [{"city": "Ulm", "zip": 7}],
        "counts": '{"a":1}',
        "mixed": '"m"',
        "anything": '[1,"z"]',
    }
    assert decoded.frame["at"][1] == datetime(2026, 1, 1, tzinfo=UTC)
    assert decoded.frame["size"].to_list() == [4, 3]
    assert [(item.row, item.reason) for item in decoded.rejected] == [
        (2, "Invalid enum value 'c' - at `$.kind`"),
        (3, "Expected `int` >= 0 - at `$.size`"),
    ]
    assert decoder.decode(*packed([])).frame.schema == decoded.frame.schema


def test_errors_of_a_users_hook_reject_the_event() -> None:
    class Checked(msgspec.Struct):
        a: int

        def __post_init__(self) -> None:
            if self.a < 0:
                raise KeyError("negative")

    decoded = JsonColumns(Checked, ["a"]).decode(*packed([b'{"a":1}', b'{"a":-1}']))
    assert decoded.rejected == [Rejected(1, "KeyError: 'negative'")]


def test_kernel_is_used_once_it_is_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    warm_up()
    decoder = JsonColumns(Order, ["id"])
    assert json_columns._kernels_ready.is_set()
    monkeypatch.setattr(decoder, "decode_with_msgspec", None)
    assert decoder.decode(*packed([b'{"id":"a","amount":1}'])).frame["id"].to_list() == ["a"]


def test_columns_do_not_keep_the_buffer_alive() -> None:
    buffer, starts, lengths = packed([b'{"id":"a text of many bytes","amount":1}'])
    buffer = buffer.copy()
    frame = JsonColumns(Order, ["id"]).decode_with_kernel(buffer, starts, lengths).frame
    buffer[:] = 0
    assert frame["id"].to_list() == ["a text of many bytes"]
    assert np.all(buffer == 0)

"""The event types of records, by their headers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codecs.record_batch import PLAIN, STRUCTURED, UNKNOWN, Fetch, event_types, parse
from app.codecs.records import with_first_header
from tests.codecs.record_batches import Headers, Record, build_batch

NAMES = ["order.placed", "order", "page.viewed", "é"]


def types_of(all_headers: list[Headers], names: list[str]) -> list[int]:
    raw = build_batch([Record(0, None, b"v", headers) for headers in all_headers])
    records = parse(Fetch("t", 0, 0, len(all_headers), raw), check_crc=True)
    types = event_types(records, names)
    assert types.dtype == np.int16
    return types.tolist()


def expected_type(headers: Headers, names: list[str]) -> int:
    structured = False
    for name, value in headers:
        if name == "ce_type":
            known = [text.encode() for text in names]
            return known.index(value) if value in known else UNKNOWN
        if name == "content-type" and (value or b"").startswith(b"application/cloudevents+json"):
            structured = True
    return STRUCTURED if structured else PLAIN


def test_each_kind() -> None:
    assert types_of(
        [
            [],
            [("ce_id", b"1"), ("ce_type", b"page.viewed")],
            [("ce_type", b"order")],
            [("ce_type", b"order.")],
            [("ce_type", None)],
            [("ce_type", b"")],
            [("content-type", b"application/cloudevents+json; charset=UTF-8")],
            [("content-type", b"application/json")],
            [("content-type", b"application/cloudevents+json"), ("ce_type", b"order.placed")],
            [("ce_types", b"order"), ("Ce_type", b"order")],
        ],
        NAMES,
    ) == [-2, 2, 1, -1, -1, -1, -3, -2, 0, -2]


def test_no_names_and_no_records() -> None:
    assert types_of([[("ce_type", b"order")], []], []) == [UNKNOWN, PLAIN]
    empty = parse(Fetch("t", 0, 0, 0, b""), check_crc=True)
    assert event_types(empty, NAMES).tolist() == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["ce_type", "content-type", "ce_id", ""]),
                st.none()
                | st.sampled_from([name.encode() for name in NAMES])
                | st.sampled_from([b"application/cloudevents+json", b"application/json", b""]),
            ),
            max_size=4,
        ),
        min_size=1,
        max_size=10,
    )
)
def test_random_headers(all_headers: list[Headers]) -> None:
    expected = [expected_type(headers, NAMES) for headers in all_headers]
    assert types_of(all_headers, NAMES) == expected


def test_records_whose_first_header_has_a_name() -> None:
    """Also where a value or a longer name has the same bytes, and where the buffer ends early."""
    headers: list[Headers] = [
        [],
        [("replay", b"1"), ("other", None)],
        [("other", b"1"), ("replay", b"1")],
        [("replays", b"")],
        [("replax", b"")],
        [("replay", None)],
        [("r", None)],
    ]
    raw = build_batch([Record(0, b"\x0creplay", b"\x0creplay", item) for item in headers])
    records = parse(Fetch("t", 0, 0, len(headers), raw), check_crc=True)
    assert with_first_header(records, b"replay").tolist() == [1, 5]
    assert with_first_header(records, b"r" * 63).tolist() == []
    empty = parse(Fetch("t", 0, 0, 0, b""), check_crc=True)
    assert with_first_header(empty, b"replay").tolist() == []

"""Names and layouts that data depend on. When one of these fails, old data would be orphaned."""

from __future__ import annotations

import io

import msgspec
import polars as pl

from app.engine import names, segment
from app.engine.offset_note import OffsetNote
from app.engine.segment import Head, Run, head_bytes
from app.engine.stacks import Build
from app.engine.table_partition import FORMAT, META_KEY, Meta


def test_topics() -> None:
    assert [
        names.changelog_topic("shop", "revenue"),
        names.repartition_topic("shop", "revenue"),
        names.late_topic("shop", "revenue"),
        names.dead_letter_topic("shop"),
        names.replays_topic("shop"),
    ] == [
        "shop.revenue.changelog",
        "shop.revenue.repartition",
        "shop.revenue.late",
        "shop.dead-letters",
        "shop.replays",
    ]


def test_keys_of_segments() -> None:
    head = Head(rows=3, size=7, low=1, high=2**64 - 1, filter=b"filter")
    first, second = Run(level=1, sequence=2, heads=(head, head)).keys(1_700_000_000_000)
    assert first.hex() == "73" + "8000018bcfe56800" + "01" + "0000000000000002" + "0000"
    assert second.hex() == "73" + "8000018bcfe56800" + "01" + "0000000000000002" + "0001"
    (negative,) = Run(254, 0, (head,)).keys(-1)
    assert negative.hex() == "73" + "7fffffffffffffff" + "fe" + "0000000000000000" + "0000"


def test_segment() -> None:
    frame = pl.DataFrame({"shop": ["a", "b"], "events": [1, 2]})
    (value,) = segment.encode(frame, ["shop"], 10_000)
    head = head_bytes(b"s", value)
    ipc = len(value) - len(head)
    assert head.hex() == (
        "00000008"
        + "00000002"
        + f"{ipc:08x}"
        + "f0eea8c8a0607d15"
        + "fb761138e1e0a78c"
        + "0004900002848898"
    )
    assert pl.read_ipc_stream(io.BytesIO(value[len(head) :])).equals(frame)


def test_checkpoint_record_of_a_table_partition() -> None:
    assert META_KEY == b"m"
    build = Build(3, 4, ((0, 1), (2, 3)), 77)
    senders = {0: (10, False), 2: (None, True)}
    meta = Meta(3, -5, senders, {"orders/0": 7}, "abc", (120_000,), {60_000: build}, FORMAT)
    written = (
        b'{"sequence":3,"watermark":-5,"senders":{"0":[10,false],"2":[null,true]},'
        b'"positions":{"orders/0":7},"definition":"abc",'
        b'"closed":[120000],"builds":{"60000":{"level":3,"sequence":4,"sources":[[0,1],[2,3]],"done":77,'
        b'"closes":false}},"format":2}'
    )
    assert msgspec.json.encode(meta) == written
    assert msgspec.json.decode(written, type=Meta) == meta
    assert msgspec.json.decode(b"{}", type=Meta) == Meta()


def test_note_beside_a_committed_offset() -> None:
    note = OffsetNote("worker/1", {"revenue": 10})
    assert note.encode() == '{"c":"worker/1","t":{"revenue":10}}'
    assert OffsetNote.decode(note.encode()) == note
    assert OffsetNote.decode("by hand") == OffsetNote()

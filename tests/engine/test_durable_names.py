"""Names and layouts that data depend on. When one of these fails, old data would be orphaned."""

from __future__ import annotations

import msgspec

from app.engine import names
from app.engine.offset_note import OffsetNote
from app.engine.segment import FINAL, Run
from app.engine.table_partition import META_KEY, Meta


def test_topics() -> None:
    assert [
        names.changelog_topic("shop", "revenue"),
        names.repartition_topic("shop", "revenue"),
        names.late_topic("shop", "revenue"),
        names.dead_letter_topic("shop"),
    ] == [
        "shop.revenue.changelog",
        "shop.revenue.repartition",
        "shop.revenue.late",
        "shop.dead-letters",
    ]


def test_keys_of_segments() -> None:
    assert FINAL == 255
    first, second = Run(level=1, sequence=2, chunks=2).keys(1_700_000_000_000)
    assert first.hex() == "73" + "8000018bcfe56800" + "01" + "0000000000000002" + "0000"
    assert second.hex() == "73" + "8000018bcfe56800" + "01" + "0000000000000002" + "0001"
    (negative,) = Run(FINAL, 0, 1).keys(-1)
    assert negative.hex() == "73" + "7fffffffffffffff" + "ff" + "0000000000000000" + "0000"


def test_checkpoint_record_of_a_table_partition() -> None:
    assert META_KEY == b"m"
    meta = Meta(3, -5, {0: (10, False), 2: (None, True)}, {"orders/0": 7}, "abc")
    written = (
        b'{"sequence":3,"watermark":-5,"senders":{"0":[10,false],"2":[null,true]},'
        b'"positions":{"orders/0":7},"definition":"abc"}'
    )
    assert msgspec.json.encode(meta) == written
    assert msgspec.json.decode(written, type=Meta) == meta
    assert msgspec.json.decode(b"{}", type=Meta) == Meta()


def test_note_beside_a_committed_offset() -> None:
    note = OffsetNote("worker/1", {"revenue": 10})
    assert note.encode() == '{"c":"worker/1","t":{"revenue":10}}'
    assert OffsetNote.decode(note.encode()) == note
    assert OffsetNote.decode("by hand") == OffsetNote()

"""Names and layouts that data depend on. When one of these fails, old data would be orphaned."""

from __future__ import annotations

import io

import msgspec
import polars as pl

from app.codecs.key_hash import key_hashes
from app.engine import names
from app.engine.aggregates import count, mean
from app.engine.language.table import Table
from app.engine.processing.offset_note import OffsetNote
from app.engine.state import segment
from app.engine.state.definition import DEFINITION_KEY, Definition
from app.engine.state.segment import Head, Run, head_bytes
from app.engine.state.stacks import Build
from app.engine.state.table_partition import FORMAT, META_KEY, Meta
from app.engine.windows import Tumbling
from tests.engine.sales import Sale


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
    (value,) = segment.encode(frame, key_hashes(frame, ["shop"]), 10_000)
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
    meta = Meta(3, -5, senders, {"orders/0": 7}, (120_000,), {60_000: build}, 50_000, format=FORMAT)
    written = (
        b'{"sequence":3,"watermark":-5,"senders":{"0":[10,false],"2":[null,true]},'
        b'"positions":{"orders/0":7},'
        b'"closed":[120000],"builds":{"60000":{"level":3,"sequence":4,"sources":[[0,1],[2,3]],"done":77,'
        b'"closes":false}},"closed_before":50000,"rebuilding":false,"format":3}'
    )
    assert msgspec.json.encode(meta) == written
    assert msgspec.json.decode(written, type=Meta) == meta
    assert msgspec.json.decode(b"{}", type=Meta) == Meta()


def test_note_beside_a_committed_offset() -> None:
    note = OffsetNote("worker/1", {"revenue": 10})
    assert note.encode() == '{"c":"worker/1","t":{"revenue":10}}'
    assert OffsetNote.decode(note.encode()) == note
    assert OffsetNote.decode("by hand") == OffsetNote()


def test_definition_record_of_a_table_partition() -> None:
    assert DEFINITION_KEY == b"d"
    columns = {"gifts": count(where=pl.col("gift")), "size": mean("size")}
    table = Table("sales", source=Sale, by="region", window=Tumbling(10, 0, 0), columns=columns)
    definition = Definition.of(table, 3)
    written = (
        b'{"source":"test.sale on sales","repartitioned":true,"partitions":3,"key":{"region":"String"},'
        b'"window_ms":10,"ttl_ms":null,"columns":{"gifts":{"kind":"count() where col(\\"gift\\") as Int64","since":0},'
        b'"size":{"kind":"mean(\'size\') as Float64, Int64","since":0}}}'
    )
    assert msgspec.json.encode(definition) == written
    assert msgspec.json.decode(written, type=Definition) == definition

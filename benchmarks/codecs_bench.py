"""How fast record batches and JSON become columns, on one core.

Run with `python -m benchmarks.codecs_bench`; it takes a few seconds once the kernels are compiled.
"""

import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # before Polars is imported

import random
import struct
import sys
import time
from collections.abc import Callable

import cramjam
import msgspec
import polars as pl
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from app.codecs.json_columns import JsonColumns, warm_up
from app.codecs.murmur2 import partitions
from app.codecs.record_batch import Fetch, event_types, parse

EVENTS = 20_000  # about as many as one fetch brings
EVENTS_PER_BATCH = 5_000
CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, bytes),
    "gzip": (1, cramjam.gzip.compress),
    "snappy": (2, cramjam.snappy.compress_raw),
    "lz4": (3, lambda data: cramjam.lz4.compress(data)),
    "zstd": (4, cramjam.zstd.compress),
}
HEADERS = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"0123456789abcdef"),
    ("ce_type", b"order.placed"),
    ("ce_source", b"/shop"),
]


class Order(msgspec.Struct):
    id: str
    type: str
    source: str
    time: int
    user: str
    amount: float
    country: str
    ip: str
    ok: bool
    qty: int


def order(number: int, dice: random.Random) -> bytes:
    return (
        f'{{"id":"{dice.getrandbits(64):016x}","type":"order.placed","source":"web-3",'
        f'"time":{1_790_000_000_000 + number},"user":"user-{dice.randrange(10_000)}",'
        f'"amount":{dice.randrange(10_000) / 100},"country":"DE","ip":"10.1.2.3","ok":true,"qty":3}}'
    ).encode()


def fetch_of(events: list[bytes], codec: str, headers: list[tuple[str, bytes]]) -> Fetch:
    number, compress = CODECS[codec]
    raw = bytearray()
    for first in range(0, len(events), EVENTS_PER_BATCH):
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 30)
        for offset, value in enumerate(events[first : first + EVENTS_PER_BATCH]):
            builder.append(offset, 1_790_000_000_000 + offset, None, value, headers)
        plain = bytes(builder.build())
        batch = bytearray(plain[:61] + bytes(compress(plain[61:])))
        struct.pack_into(">qi", batch, 0, first, len(batch) - 12)
        struct.pack_into(">h", batch, 21, number)
        struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
        raw += batch
    return Fetch("orders", 0, 0, len(events), bytes(raw))


def report(what: str, work: Callable[[], object], count: int = EVENTS) -> None:
    """Print the best of some runs."""
    seconds = []
    for _ in range(30):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    best = min(seconds)
    line = f"{what:<52}{count / best / 1e6:8.2f} M/s {best / count * 1e9:8.0f} ns\n"
    sys.stdout.write(line)


def main() -> None:
    start = time.perf_counter()
    warm_up()
    sys.stdout.write(f"warm-up: {time.perf_counter() - start:.1f} s\n")
    dice = random.Random(1)
    events = [order(number, dice) for number in range(EVENTS)]
    for codec in CODECS:
        fetch = fetch_of(events, codec, [])
        report(f"parse, {codec}, checksum checked", lambda f=fetch: parse(f, check_crc=True))
    with_headers = fetch_of(events, "none", HEADERS)
    records = parse(with_headers, check_crc=True)
    report("parse with four headers", lambda: parse(with_headers, check_crc=True))
    report("event types", lambda: event_types(records, ["page.viewed", "order.placed"]))

    arrays = records.buffer, records.value_start, records.value_length
    three = JsonColumns(Order, ["time", "user", "amount"])
    every = JsonColumns(Order, Order.__struct_fields__)
    report("JSON to 3 of 10 columns", lambda: three.decode_with_kernel(*arrays))
    report("JSON to 10 of 10 columns", lambda: every.decode_with_kernel(*arrays))
    report("JSON to 3 of 10 columns by msgspec", lambda: three.decode_with_msgspec(*arrays))
    frame = three.decode_with_kernel(*arrays).frame
    aggregates = [pl.len(), pl.col("amount").sum().alias("total"), pl.col("time").max()]
    report("group_by user, 10,000 users", lambda: frame.group_by("user").agg(aggregates))
    report("partitions of the users", lambda: partitions(frame["user"], 12))
    fetch = fetch_of(events, "lz4", [])

    def whole() -> None:
        parsed = parse(fetch, check_crc=True)
        three.decode_with_kernel(parsed.buffer, parsed.value_start, parsed.value_length)

    report("lz4 fetch to 3 columns, all checks", whole)


if __name__ == "__main__":
    main()

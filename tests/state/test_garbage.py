"""What was replaced does not stay on the disk, and what was not is not copied for nothing."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

from app.engine.state.store import StoreWrite
from app.state.rocksdb_store import RocksDBStore
from tests.seeds import new_seed

SEGMENT_BYTES, SEGMENTS = 64_000, 100


def _segment(number: int, version: int) -> bytes:
    return bytes(f"{number}.{version}.", "ascii")


def _blob_bytes(folder: Path) -> int:
    size = 0
    for path in folder.glob("*.blob"):
        with suppress(FileNotFoundError):  # deleted meanwhile
            size += path.stat().st_size
    return size


def test_replaced_segments_leave_the_disk(tmp_path: Path) -> None:
    """Those of a hundred that are replaced are others each time; the disk holds a few times what is live."""
    chosen = random.Random(new_seed())
    store = RocksDBStore(tmp_path, block_cache_mb=1, write_buffer_mb=1)
    body = random.Random(1).randbytes(SEGMENT_BYTES)
    live = dict.fromkeys(range(SEGMENTS), 0)
    largest = 0
    for version in range(1, 1500):
        number = chosen.randrange(SEGMENTS if chosen.random() < 0.1 else SEGMENTS // 10)
        gone, live[number] = live[number], version
        new = {_segment(number, version): body}
        store.write([StoreWrite("sales", 0, new, [_segment(number, gone)])])
        largest = max(largest, _blob_bytes(tmp_path))
    found = store.read("sales", 0, [_segment(*item) for item in live.items() if item[1]])
    assert set(found) == {body}
    store.close()
    assert largest < 4 * SEGMENTS * SEGMENT_BYTES

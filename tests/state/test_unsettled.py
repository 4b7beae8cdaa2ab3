"""Writes that pass the write-ahead log by, and a process that is killed among them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app.state.rocksdb_store import RocksDBStore

PROGRAM = """
import os, signal, sys
from pathlib import Path
from app.engine.state.store import StoreWrite
from app.state.rocksdb_store import RocksDBStore

store = RocksDBStore(Path(sys.argv[1]), block_cache_mb=1, write_buffer_mb=1)
settled = int(sys.argv[2])
for number in range(200):
    key = str(number).encode()
    store.write([StoreWrite("a", 0, {key: bytes(20_000)}, [], number)], settled=False)
    store.write([StoreWrite("b", 0, {key: b"x"}, [], number)])
    if number == settled:
        store.settle()
os.kill(os.getpid(), signal.SIGKILL)
"""
ROOT = Path(__file__).resolve().parents[2]


def killed(path: Path, settled: int) -> None:
    """A process that dies after 200 writes to each of two tables, those to one of them unsettled."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(settled)], cwd=ROOT, check=False
    )
    assert done.returncode == -9


def test_a_crash_leaves_the_state_as_of_one_of_the_writes(tmp_path: Path) -> None:
    killed(tmp_path, -1)
    store = RocksDBStore(tmp_path, block_cache_mb=1, write_buffer_mb=1)
    offset = store.changelog_offset("a", 0)
    found = {int(key) for key in store.heads("a", 0)}
    assert offset is not None, "nothing was flushed: the test shows nothing"
    assert found == set(range(offset + 1))
    assert len(store.heads("b", 0)) == 200, "the logged writes are all there"
    store.close()


def test_what_is_settled_stays(tmp_path: Path) -> None:
    killed(tmp_path, 199)
    store = RocksDBStore(tmp_path, block_cache_mb=1, write_buffer_mb=1)
    assert (store.changelog_offset("a", 0), len(store.heads("a", 0))) == (199, 200)
    store.close()

"""A store whose files were damaged gives no wrong answer: it says so, and is moved aside at the next start."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from app.engine.state.store import StoreWrite
from app.state.open_store import FORMAT, open_store
from app.state.rocksdb_store import DAMAGED, DamagedStoreError, RocksDBStore
from tests.seeds import new_seed

KEYS = [f"key {number:03}".encode() for number in range(300)]


def opened(path: Path) -> RocksDBStore:
    return open_store(path, block_cache_mb=1, write_buffer_mb=1)


def fill(path: Path) -> dict[bytes, bytes]:
    """Several files of each kind, and a log that was not flushed."""
    chance = random.Random(7)
    values = {key: chance.randbytes(chance.choice([50, 5_000, 9_000])) for key in KEYS}
    for first in range(0, len(KEYS), 100):
        store = opened(path)
        for key in KEYS[first : first + 100]:
            store.write([StoreWrite("t", 0, {key: values[key]}, [], first)])
        store.close()
    return values


def flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def remove(data: bytes, chance: random.Random) -> None:
    return None


DAMAGES: list[Callable[[bytes, random.Random], bytes | None]] = [flip, cut, remove]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda item: item.__name__)
@pytest.mark.parametrize("pattern", ["*.sst", "*.blob", "*.log", "MANIFEST-*", "CURRENT", "FORMAT"])
def test_damage_is_told_and_never_a_wrong_answer(
    tmp_path: Path, pattern: str, damage: Callable[[bytes, random.Random], bytes | None]
) -> None:
    chance = random.Random(new_seed())
    path = tmp_path / "rocksdb"
    values = fill(path)
    file = chance.choice(
        [f for f in sorted(path.glob(pattern)) if f.stat().st_size] or [path / "none"]
    )
    if file.exists():
        changed = damage(file.read_bytes(), chance)
        file.unlink() if changed is None else file.write_bytes(changed)
    store = opened(path)
    try:
        offset = store.changelog_offset("t", 0)
        found = list(store.heads("t", 0))
        right = dict(zip(found, store.read("t", 0, found), strict=True))
    except DamagedStoreError as error:
        assert "damaged" in str(error)
        store.close()
        again = opened(
            path
        )  # moved aside: nothing is held, so that the changelog is read from its start
        assert list(again.heads("t", 0)) == []
        assert again.changelog_offset("t", 0) is None
        assert (tmp_path / "rocksdb.damaged").exists()
        again.close()
        return
    # what it holds is what was written up to its own offset
    assert right.items() <= values.items()
    if offset is None:
        assert right == {}
    else:
        assert right.keys() >= set(KEYS[:offset])
    store.close()


def test_a_store_of_another_format_is_rebuilt(tmp_path: Path) -> None:
    path = tmp_path / "rocksdb"
    fill(path)
    (path / "FORMAT").write_text("1")
    store = opened(path)
    assert store.changelog_offset("t", 0) is None
    store.close()
    assert (tmp_path / "rocksdb.damaged" / "CURRENT").exists()


def test_the_format_is_written_once(tmp_path: Path) -> None:
    """A start that is killed while it writes it would cost the state."""
    path = tmp_path / "rocksdb"
    opened(path).close()
    before = (path / "FORMAT").stat()
    opened(path).close()
    after = (path / "FORMAT").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert (path / "FORMAT").read_text() == FORMAT


@pytest.mark.parametrize("text", ["", "1"])
def test_a_format_without_a_database_is_made_right(tmp_path: Path, text: str) -> None:
    """Otherwise the next start would move aside what this one has written."""
    path = tmp_path / "rocksdb"
    path.mkdir()
    (path / "FORMAT").write_text(text)
    fill(path)
    assert (path / "FORMAT").read_text() == FORMAT
    assert not (tmp_path / "rocksdb.damaged").exists()


def test_only_one_damaged_store_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "rocksdb"
    for number in range(3):
        opened(path).close()
        (path / DAMAGED).write_text(f"reason {number}")
    opened(path).close()
    assert (tmp_path / "rocksdb.damaged" / DAMAGED).read_text() == "reason 2"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["rocksdb", "rocksdb.damaged"]


@pytest.mark.parametrize(
    "text", ["Corruption: block checksum mismatch", "IO error: No space left on device"]
)
def test_what_is_found_while_closing_holds_nobody_up(tmp_path: Path, text: str) -> None:
    """RocksDB's background work may have found it; the flush then fails."""
    path = tmp_path / "rocksdb"
    store = opened(path)
    database = store._db

    class Broken:
        def close(self) -> None:
            database.close()
            raise Exception(text)

    store._db = Broken()  # type: ignore[assignment]
    store.close()
    assert (path / DAMAGED).exists() == text.startswith("Corruption")

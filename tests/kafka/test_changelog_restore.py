"""A store is brought up to its changelog, on a real broker."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from app.engine.reading.restore_progress import RestoreProgress, Restoring
from app.engine.state.store import STALE_AFTER_S
from app.kafka.changelogs import restore as changelog_module
from app.kafka.changelogs.reader import ChangelogError, ChangelogReader, Chunk
from app.kafka.changelogs.restore import ChangelogRestore, RestoreError
from app.state.rocksdb_store import RocksDBStore
from tests.kafka.changelog import TABLE, Changelog, Clock, State, stored
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka


class Restore:
    """A store in a folder, and its restore."""

    def __init__(self, servers: str, app_id: str, path: Path) -> None:
        self.clock = Clock()
        self.store = RocksDBStore(path, block_cache_mb=1, write_buffer_mb=1, now=self.clock)
        self.progress = RestoreProgress(time.monotonic)
        self.told: list[Restoring] = []
        self._changelog = ChangelogRestore(servers, app_id, self.store, self.progress, timeout_s=3)
        self._write = self.store.write
        self.store.write = self._told  # type: ignore[method-assign]

    def _told(self, *args: object, **options: object) -> None:
        self.told += self.progress.tables()
        self._write(*args, **options)  # type: ignore[arg-type]

    def run(self) -> int:
        """Restore both partitions; the number of records that were read."""
        return self._changelog.run([(TABLE, 0), (TABLE, 1)])

    def state(self) -> tuple[State, State]:
        """What the store holds now."""
        return stored(self.store)


@pytest.fixture
def app_id(topic_name: Callable[..., str]) -> str:
    return topic_name("restore")


@pytest.fixture
def changelog(broker: str, app_id: str) -> Changelog:
    return Changelog(broker, app_id)


@pytest.fixture
def restore(broker: str, app_id: str, tmp_path: Path) -> Iterator[Restore]:
    item = Restore(broker, app_id, tmp_path / "rocksdb")
    yield item
    item.store.close()


def test_a_restore_copies_what_the_changelog_holds(
    changelog: Changelog, restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelog_module, "_WRITE_BYTES", 1 << 20)
    chance = random.Random(new_seed())
    assert restore.run() == 0
    for number in range(60):
        entries: list[tuple[int, bytes, bytes | None]] = []
        for key in {str(chance.randrange(40)).encode() for _ in range(6)}:
            gone = chance.random() < 0.3
            value = None if gone else chance.randbytes(chance.choice((0, 10, 300_000)))
            entries.append((chance.randrange(2), key, value))
        changelog.write(entries, commit=number % 7 != 3)
        if number in (20, 21):
            assert restore.run() > 0
            assert restore.state() == changelog.state
    restore.told.clear()
    assert restore.run() > 0
    assert restore.state() == changelog.state
    shares = [item.percent for item in restore.told]
    assert shares == sorted(shares)
    assert len(set(shares)) > 1, "a write at a time, and each further than the one before"
    assert restore.progress.tables() == []
    assert restore.run() == 0


def test_a_store_that_was_away_for_long_is_trusted_only_if_nobody_has_written(
    changelog: Changelog, restore: Restore
) -> None:
    changelog.write([(0, b"a", b"1"), (1, b"b", b"2")])
    assert restore.run() == 2
    restore.clock.ahead_s = STALE_AFTER_S + 60
    assert restore.run() == 0
    assert restore.state() == ({b"a": b"1"}, {b"b": b"2"})
    # of partition 0 a segment was replaced long ago, and its tombstone may be gone
    changelog.write([(0, b"c", b"3")])
    assert restore.run() == 2
    assert restore.state() == ({b"a": b"1", b"c": b"3"}, {b"b": b"2"})


def test_a_changelog_that_was_made_anew_is_copied_as_a_whole(
    changelog: Changelog, restore: Restore
) -> None:
    """However long it has become meanwhile: what the store had was of another one."""
    changelog.write([(0, b"a", b"1"), (1, b"b", b"2")])
    assert restore.run() == 2
    other = changelog.made_anew()
    other.write([(0, b"c", b"3")])
    other.write([(0, b"d", b"4")])
    assert restore.run() == 2
    assert restore.state() == other.state == ({b"c": b"3", b"d": b"4"}, {})
    assert restore.run() == 0


def test_an_open_transaction_is_waited_for_and_told(changelog: Changelog, restore: Restore) -> None:
    changelog.write([(0, b"a", b"1")])
    changelog.producer.begin_transaction()
    changelog.producer.produce(changelog.topic, b"2", b"a", partition=0)
    changelog.producer.flush()
    with pytest.raises(RestoreError, match="stays open"):
        restore.run()
    assert restore.progress.tables() == []
    changelog.producer.commit_transaction()
    restore.run()
    assert restore.state() == ({b"a": b"2"}, {})


def test_what_others_go_on_writing_is_no_progress(
    broker: str, changelog: Changelog, restore: Restore
) -> None:
    """A partition whose end is not reached is told of, however busy another one is that has been read."""
    changelog.write([(0, b"a", b"1"), (1, b"b", b"1")])
    changelog.producer.begin_transaction()
    changelog.producer.produce(changelog.topic, b"2", b"a", partition=0)
    changelog.producer.flush()
    over = threading.Event()

    def write() -> None:
        producer = Producer({"bootstrap.servers": broker})
        while not over.wait(0.1):
            producer.produce(changelog.topic, b"1", b"b", partition=1)
            producer.flush()

    writer, end = threading.Thread(target=write), threading.Timer(20, over.set)
    writer.start()
    end.start()
    try:
        with pytest.raises(RestoreError, match="stays open"):
            restore.run()
        assert not over.is_set()
    finally:
        end.cancel()
        over.set()
        writer.join()
    assert restore.state() == ({}, {})
    changelog.producer.commit_transaction()
    restore.run()
    assert restore.state() == ({b"a": b"2"}, {b"b": b"1"})


@pytest.mark.parametrize("whole_before", [True, False])
def test_a_restore_that_is_interrupted_is_as_old_as_what_it_began_with(
    changelog: Changelog,
    restore: Restore,
    monkeypatch: pytest.MonkeyPatch,
    whole_before: bool,
) -> None:
    """Half an hour after that, tombstones may be gone that it has not read: however recently it was written to."""
    chance = random.Random(new_seed())
    if whole_before:
        changelog.write([(0, b"0", b"1")])
        restore.run()
        restore.clock.ahead_s = STALE_AFTER_S - 300
    changelog.write([(0, str(number).encode(), chance.randbytes(300_000)) for number in range(40)])
    read, came = ChangelogReader.read, 0

    def cut_off(reader: ChangelogReader, wait_s: float) -> list[Chunk]:
        nonlocal came
        chunks = read(reader, wait_s)
        came += bool(chunks)
        if came > 1:
            raise ChangelogError("the broker is gone")
        return chunks

    with monkeypatch.context() as patch:
        patch.setattr(changelog_module, "_WRITE_BYTES", 1)
        patch.setattr(ChangelogReader, "read", cut_off)
        with pytest.raises(RestoreError, match="the broker is gone"):
            restore.run()
    held = restore.store.changelog_offset(TABLE, 0)
    assert held is not None and 0 < held < 40
    assert not restore.store.stale(TABLE, 0)
    restore.clock.ahead_s += 600
    assert restore.store.stale(TABLE, 0) == whole_before
    assert restore.run() == (41 if whole_before else 40 - held)
    assert restore.state() == changelog.state
    assert not restore.store.stale(TABLE, 0)

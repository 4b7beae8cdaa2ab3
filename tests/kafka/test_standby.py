"""Copies follow the changelogs of what others own, on a real broker."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.engine.reading.restore_progress import RestoreProgress
from app.engine.state.store import STALE_AFTER_S
from app.kafka.changelogs import standby as standby_module
from app.kafka.changelogs.reader import ChangelogReader, Chunk
from app.kafka.changelogs.restore import ChangelogRestore
from app.kafka.changelogs.standby import Standbys
from app.state.rocksdb_store import RocksDBStore
from tests.kafka.changelog import TABLE, Changelog, Clock, stored
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

SOURCES = [("sales", 0), ("sales", 1)]


class Copies:
    """A store that stands by for both partitions."""

    def __init__(self, servers: str, app_id: str, path: Path) -> None:
        self.clock = Clock()
        self.ours: list[tuple[str, int]] = []
        self.store = RocksDBStore(path, block_cache_mb=1, write_buffer_mb=1, now=self.clock)
        self.it = Standbys(
            servers,
            app_id,
            self.store,
            lambda sources: [(TABLE, number) for _, number in sources],
            lambda: [(TABLE, 0), (TABLE, 1)],
            timeout_s=5,
            clock=lambda: time.monotonic() + self.clock.ahead_s,
        )
        self._restore = ChangelogRestore(
            servers, app_id, self.store, RestoreProgress(time.monotonic), timeout_s=3
        )

    async def follow(self, *sources: tuple[str, int]) -> None:
        """Returns when the store is written to for these alone."""
        await asyncio.wait_for(asyncio.wrap_future(self.it.follow(sources, self.ours)), 20)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something that the copies are to do."""
        deadline = time.monotonic() + 20
        while not true():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    def restore(self, *partitions: int) -> int:
        """Take these over; the number of records that were read."""
        return self._restore.run([(TABLE, number) for number in partitions])


@asynccontextmanager
async def standing_by(broker: str, app_id: str, path: Path) -> AsyncIterator[Copies]:
    copies = Copies(broker, app_id, path)
    task = asyncio.ensure_future(copies.it.run())
    try:
        yield copies
    finally:
        await copies.it.close()
        copies.store.close()
        await task


@pytest.fixture
def app_id(topic_name: Callable[..., str]) -> str:
    return topic_name("standby")


def write_some(changelog: Changelog, chance: random.Random, transactions: int) -> None:
    for number in range(transactions):
        entries: list[tuple[int, bytes, bytes | None]] = []
        for key in {str(chance.randrange(40)).encode() for _ in range(6)}:
            gone = chance.random() < 0.3
            value = None if gone else chance.randbytes(chance.choice((0, 10, 300_000)))
            entries.append((chance.randrange(2), key, value))
        changelog.write(entries, commit=number % 7 != 3)


async def test_a_copy_follows_and_a_take_over_reads_the_rest(
    broker: str, app_id: str, tmp_path: Path
) -> None:
    chance = random.Random(new_seed())
    changelog = Changelog(broker, app_id)
    write_some(changelog, chance, 30)
    async with standing_by(broker, app_id, tmp_path / "rocksdb") as copies:
        await copies.follow(*SOURCES)
        await copies.until(lambda: copies.it.ready() == frozenset(SOURCES))
        write_some(changelog, chance, 30)
        await copies.until(lambda: stored(copies.store) == changelog.state)
        await copies.follow(SOURCES[0])
        write_some(changelog, chance, 5)
        await copies.until(lambda: stored(copies.store)[0] == changelog.state[0])
        assert stored(copies.store)[1] != changelog.state[1], "it is no standby for that any more"
        await copies.follow()
        assert copies.restore(0) == 0
        assert 0 < copies.restore(1) <= 5 * 6
        assert stored(copies.store) == changelog.state
        write_some(changelog, chance, 5)
        await copies.follow(*SOURCES)  # it goes on where the restore has ended
        await copies.until(lambda: stored(copies.store) == changelog.state)


async def test_a_worker_that_stands_by_for_nothing_does_nothing(
    broker: str, app_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby_module, "ChangelogReader", None)
    async with standing_by(broker, app_id, tmp_path / "rocksdb") as copies:
        await copies.follow()
        before = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - before < 0.25


async def test_a_copy_at_the_end_is_trusted_however_long_nobody_writes(
    broker: str, app_id: str, tmp_path: Path
) -> None:
    changelog = Changelog(broker, app_id)
    changelog.write([(0, b"a", b"1"), (1, b"b", b"2")])
    async with standing_by(broker, app_id, tmp_path / "rocksdb") as copies:
        await copies.follow(*SOURCES)
        await copies.until(lambda: stored(copies.store) == changelog.state)
        copies.clock.ahead_s = STALE_AFTER_S + 60
        await copies.until(lambda: not any(copies.store.stale(TABLE, n) for n in (0, 1)))


async def test_copies_of_which_nothing_comes_are_gone_on_with_by_another_consumer(
    broker: str, app_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets nothing any more and does not say so, as clients of Kafka have been seen to fall silent."""
    consumers: list[Deaf] = []

    class Deaf(ChangelogReader):
        deaf = False

        def __init__(self, *arguments: Any, **limits: int) -> None:
            super().__init__(*arguments, **limits)
            consumers.append(self)

        def read(self, wait_s: float) -> list[Chunk]:
            chunks = super().read(wait_s)
            return [] if self.deaf else chunks

        def ends(self) -> dict[tuple[str, int], int]:
            return {} if self.deaf else super().ends()

    monkeypatch.setattr(standby_module, "ChangelogReader", Deaf)
    changelog = Changelog(broker, app_id)
    changelog.write([(0, b"a", b"1"), (1, b"b", b"2")])
    async with standing_by(broker, app_id, tmp_path / "rocksdb") as copies:
        await copies.follow(*SOURCES)
        await copies.until(lambda: stored(copies.store) == changelog.state)
        consumers[0].deaf = True
        changelog.write([(0, b"a", b"3"), (1, b"c", b"4")])
        copies.clock.ahead_s += 61
        await copies.until(lambda: all(copies.it.lags().values()))
        assert stored(copies.store) != changelog.state
        copies.clock.ahead_s += 61
        await copies.until(lambda: stored(copies.store) == changelog.state)
        assert len(consumers) == 2


async def test_what_nobody_wants_is_deleted_once_it_is_too_old(
    broker: str, app_id: str, tmp_path: Path
) -> None:
    changelog = Changelog(broker, app_id)
    changelog.write([(0, b"a", b"1"), (1, b"b", b"2")])
    async with standing_by(broker, app_id, tmp_path / "rocksdb") as copies:
        copies.restore(0, 1)
        copies.ours = SOURCES[:1]
        await copies.follow()
        copies.clock.ahead_s = STALE_AFTER_S + 60
        await copies.follow()
        await copies.until(lambda: stored(copies.store) == ({b"a": b"1"}, {}))


async def test_a_copy_that_stays_behind_for_long_is_not_trusted(
    broker: str, app_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tombstones of what it has not read yet may be gone."""
    monkeypatch.setattr(standby_module, "_WRITE_S", 0)
    changelog = Changelog(broker, app_id)
    changelog.write([(0, b"a", b"1")])
    async with standing_by(broker, app_id, tmp_path / "rocksdb") as copies:
        await copies.follow(SOURCES[0])
        await copies.until(lambda: stored(copies.store) == changelog.state)
        changelog.producer.begin_transaction()  # holds it up, as too little time would
        for _ in range(5):
            changelog.producer.produce(changelog.topic, b"2", b"a", partition=0)
        changelog.producer.flush()
        await copies.until(lambda: copies.it.lags()[(TABLE, 0)] > 0)
        copies.clock.ahead_s = STALE_AFTER_S + 60
        await copies.until(lambda: copies.store.stale(TABLE, 0))
        changelog.producer.commit_transaction()
        await copies.until(lambda: stored(copies.store)[0] == {b"a": b"2"})


async def test_a_changelog_that_is_made_anew_is_copied_anew(
    broker: str, app_id: str, tmp_path: Path
) -> None:
    changelog = Changelog(broker, app_id)
    changelog.write([(0, str(number).encode(), b"1") for number in range(20)])
    async with standing_by(broker, app_id, tmp_path / "rocksdb") as copies:
        await copies.follow(*SOURCES)
        await copies.until(lambda: stored(copies.store) == changelog.state)
        again = changelog.made_anew()
        again.write([(0, b"other", b"2")])
        await copies.until(lambda: stored(copies.store) == again.state)

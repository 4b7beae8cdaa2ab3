"""Reading changelogs while their broker goes away and comes back."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.kafka.changelogs.reader import ChangelogReader
from app.kafka.embedded.broker import Broker
from tests.faults.broken_broker import down
from tests.kafka.changelog import Changelog
from tests.kafka.test_standby import SOURCES, standing_by, write_some
from tests.own_broker import own_broker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

READERS = 8


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One that nobody else needs."""
    with own_broker(tmp_path_factory.mktemp("own")) as broker:
        yield broker


def test_it_is_closed_while_the_broker_is_away(own: Broker, topic_name: Callable[..., str]) -> None:
    """At whatever its consumer does just then; no thread is left of it."""
    chance = random.Random(new_seed())
    changelog = Changelog(own.bootstrap_servers, topic_name("closed"))
    write_some(changelog, chance, 1)
    before = threading.active_count()
    readers = [
        ChangelogReader(
            own.bootstrap_servers,
            "test",
            fetch_bytes=1 << 20,
            buffer_bytes=1 << 20,
            wait_ms=chance.choice((20, 200, 1000)),
        )
        for _ in range(READERS)
    ]
    for reader in readers:
        reader.follow({(changelog.topic, 0): 0, (changelog.topic, 1): 0})
    with down(own):
        for reader in readers:
            time.sleep(chance.uniform(0, 0.3))  # the moment is what is random
            reader.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)


async def test_copies_go_on_when_it_is_back(
    own: Broker, topic_name: Callable[..., str], tmp_path: Path
) -> None:
    """However often it goes away: who waits for the copies to let go of something is answered."""
    chance = random.Random(new_seed())
    app_id = topic_name("standby")
    write_some(Changelog(own.bootstrap_servers, app_id), chance, 1)
    async with standing_by(own.bootstrap_servers, app_id, tmp_path / "rocksdb") as copies:
        for _ in range(4):
            await copies.follow(*SOURCES)
            await copies.until(lambda: copies.it.ready() == frozenset(SOURCES))
            with down(own):
                copies.clock.ahead_s += (
                    61  # asks the broker where the changelogs end, and gives its reader up
                )
                await copies.until(lambda: not copies.it.lags())
                await asyncio.sleep(chance.uniform(0, 1))  # the moment is what is random
            await copies.follow(SOURCES[0])

"""A random mix of all faults, several at a time: at the end every event counts once."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.faults.group import Group, load, running_group
from tests.faults.mix import Mix
from tests.faults.network import namespace
from tests.faults.reachable_broker import reachable_broker
from tests.faults.small_disk import small_disk
from tests.kafka.replaying import MENDED, replay_of
from tests.kafka.test_dead_letters import CORPUS
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

SECONDS = 600
DISK_MB = 256


def test_a_random_mix(tmp_path: Path, full_faults: bool) -> None:
    """Three workers, twelve partitions; the actions are printed. Without network namespaces no worker is cut off.

    The short form has every kind once: it is the short form of the tests of those kinds, too.
    """
    seed = new_seed()
    with (
        namespace() as place,
        reachable_broker(place.host if place else "127.0.0.1", tmp_path / "broker") as broker,
        running_group(
            broker.servers,
            tmp_path,
            started=0,
            module="tests.faults.crashing_job",
            TEST_SEED=str(seed),
        ) as group,
        small_disk(group.state_of(group.workers[1]), DISK_MB) as disk,
    ):
        poison = _Poison(broker.servers, group.sources[0])
        assert place or not full_faults, (
            "no network namespaces here: they need root and the command `ip`"
        )
        mix = Mix(group, broker, place, disk, poison.write, seed=seed, folder=tmp_path)
        group.start()
        with load(group, seed) as sales:
            group.wait_until_ready()
            if full_faults:
                mix.run(SECONDS, sales)
                _mend_schema(group)
            else:
                mix.run_each()
            group.wait_for_all()
        log = group.finish_all(sales, written_once=False, dead=True)
        assert log.dead >= poison.count, "it may stand there twice: a broker was killed"


def _mend_schema(group: Group) -> None:
    """The next version of the application can read what lacks a field; all that was not read is replayed."""
    group.stop()
    for item in group.workers:
        item.environment |= MENDED
    group.environment |= MENDED
    group.start()
    group.wait_until_ready()
    replay_of(group.broker, group.app_id).run(lambda count: None)


class _Poison:
    """The corpus of events that cannot be read."""

    def __init__(self, servers: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True})
        self._topic = topic
        self.count = 0

    def write(self) -> None:
        """All of them, each once."""
        for name, (value, headers, _) in CORPUS.items():
            marked = [*headers, ("corpus", name.encode())]
            self._producer.produce(self._topic, value, name, headers=marked)
            self.count += 1
        assert self._producer.flush(120) == 0

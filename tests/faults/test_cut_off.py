"""A worker whose packets are lost: the others take over, and once healed it joins again."""

from __future__ import annotations

import base64
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from app.kafka import broker_jvm
from app.kafka.broker_folder import Folder
from app.kafka.broker_jars import ensure_jars
from app.kafka.broker_startup_cache import startup_flags
from tests.faults.group import (
    SESSION_TIMEOUT_MS,
    TRANSACTION_TIMEOUT_MS,
    load,
    new_seed,
    running_group,
)
from tests.faults.network import Namespace, namespace

pytestmark = pytest.mark.kafka

TIMEOUTS_S = (SESSION_TIMEOUT_MS + TRANSACTION_TIMEOUT_MS) / 1000
WAYS = {
    "answers-lost": {"outward": False, "inward": True},
    "requests-lost": {"outward": True, "inward": False},
    "both-ways": {"outward": True, "inward": True},
}


@pytest.fixture(scope="module")
def place() -> Iterator[Namespace]:
    with namespace() as made:
        if made is None:
            pytest.skip("no network namespaces here: they need root and the command `ip`")
        yield made


@pytest.fixture(scope="module")
def reachable_broker(place: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker at our end of the namespace's cable, where no other machine can reach it."""
    folder = Folder(tmp_path_factory.mktemp("reachable"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker_jvm, "HOST", place.host)
        ports = broker_jvm.choose_ports(None)
        jvm = broker_jvm.BrokerJvm(folder, ensure_jars(lambda _line: None), *ports, startup_flags())
        jvm.write_configuration()
    jvm.format_storage(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
    servers = f"{place.host}:{jvm.port}"
    try:
        jvm.start()
        _wait_until_up(servers)
        yield servers
    finally:
        jvm.stop(lambda _line: None)
        shutil.rmtree(folder.path)


@pytest.mark.parametrize("way", WAYS)
def test_cut_off_and_healed(
    place: Namespace, reachable_broker: str, tmp_path: Path, full_faults: bool, way: str
) -> None:
    if way != "both-ways" and not full_faults:
        pytest.skip("in the full form only")
    with running_group(reachable_broker, tmp_path, 2, started=0) as group:
        item = group.workers[0]
        item.prefix = place.prefix
        group.start()
        with load(group, new_seed()) as sales:
            group.wait_until_ready()
            for _ in range(3 if full_faults else 1):
                mark = group.log_size(item)
                past = time.monotonic() + TIMEOUTS_S
                with place.cut(**WAYS[way]):
                    group.wait_for_all()  # the other one has its partitions now
                    group.let_pass_until(past)
                    assert len(group.assignment()) == 1
                group.wait_for_line(item, "tables.restored", mark)
                group.wait_for_all()
        group.finish_all(sales)


def _wait_until_up(servers: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            AdminClient({"bootstrap.servers": servers, "log_level": 0}).list_topics(timeout=1)
            return
        except KafkaException:
            assert time.monotonic() < deadline, "the broker is not up"

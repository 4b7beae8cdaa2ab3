"""The embedded broker as its users meet it: started, shared, killed, in the way, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from app.kafka.embedded import jars as broker_jars
from app.kafka.embedded import jvm as broker_jvm
from app.kafka.embedded import startup_cache as broker_startup_cache
from app.kafka.embedded.broker import (
    Broker,
    BrokerError,
    BrokerStatus,
    broker_status,
    ensure_broker,
    stop_broker,
)
from app.kafka.embedded.folder import Folder, ProcessId
from tests.own_broker import own_broker

pytestmark = pytest.mark.kafka
QUIET = {"log_level": 0}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Broker]:
    """A broker that the test may harm; its folder has a space and an umlaut in its name."""
    with own_broker(tmp_path / "a bröker") as started:
        yield started


def folder(broker: Broker) -> Path:
    """The data directory that holds a broker's folder."""
    return broker._folder.path.parent


def wait_until(true: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition; fail when it does not come true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def create_topic(servers: str, name: str) -> None:
    """Make a topic of one partition."""
    admin = AdminClient({"bootstrap.servers": servers, **QUIET})
    for future in admin.create_topics([NewTopic(name, 1, 1)]).values():
        future.result(10)


def produce(servers: str, name: str, values: list[bytes]) -> None:
    """Write the values and wait until the broker has them."""
    producer = Producer({"bootstrap.servers": servers, "acks": "all", **QUIET})
    for value in values:
        producer.produce(name, value)
    assert producer.flush(20) == 0


def consume(servers: str, name: str, count: int) -> list[bytes]:
    """Read so many values from the start."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", **QUIET})
    consumer.assign([TopicPartition(name, 0, 0)])
    values = [message.value() for message in consumer.consume(count, timeout=20)]
    consumer.close()
    return values


def in_another_process(code: str, path: Path) -> subprocess.Popen[str]:
    """Run code with `broker` bound to the folder's broker; it says its first line when ready."""
    script = (
        "import sys, time; from pathlib import Path; from app.kafka.embedded.broker import ensure_broker\n"
        f"broker = ensure_broker(Path(sys.argv[1]), log=lambda line: None)\n{code}"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def listeners(pid: int) -> set[str]:
    """The addresses on which a process listens, as the kernel writes them."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
        except FileNotFoundError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1].rsplit(":", 1)[0])
    return found


def test_serves_clients(broker: str, topic_name: Callable[..., str]) -> None:
    name = topic_name()
    create_topic(broker, name)
    produce(broker, name, [b"one", b"two"])
    assert consume(broker, name, 2) == [b"one", b"two"]


def test_listens_on_loopback_only(embedded_broker: Broker) -> None:
    assert embedded_broker.pid is not None
    addresses = listeners(embedded_broker.pid)
    # Java's IPv6 sockets show 127.0.0.1 as an address mapped into IPv6.
    assert addresses
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}


def test_another_process_shares_it(embedded_broker: Broker) -> None:
    code = "print(broker.pid, broker.owned, broker.bootstrap_servers); broker.close()"
    other = in_another_process(code, folder(embedded_broker))
    said, _ = other.communicate(timeout=30)
    expected = f"{embedded_broker.pid} False {embedded_broker.bootstrap_servers}"
    assert said.strip() == expected
    assert broker_status(folder(embedded_broker)).answers


def test_two_that_start_at_once_share_one(tmp_path: Path) -> None:
    """Killed, they leave nothing behind."""
    code = "print(broker.pid, broker.owned, flush=True); sys.stdin.read()"
    both = [in_another_process(code, tmp_path / "data") for _ in range(2)]
    try:
        lines = [process.stdout.readline().split() for process in both]
        assert lines[0][0] == lines[1][0]
        assert sorted(line[1] for line in lines) == ["False", "True"]
        state = Folder(tmp_path / "data/broker").read_state()
        assert state is not None
        assert state.jvm is not None
    finally:
        for process in both:
            process.kill()
            process.communicate()
    wait_until(lambda: not state.supervisor.alive(), 40)
    assert not state.jvm.alive()


def test_a_killed_one_comes_back_with_its_data(own: Broker, topic_name: Callable[..., str]) -> None:
    name, servers, pid = topic_name(), own.bootstrap_servers, own.pid
    assert pid is not None
    create_topic(servers, name)
    produce(servers, name, [b"before"])
    deleted = (
        folder(own) / "broker/data" / f"gone-0.{'0' * 32}-delete"
    )  # a topic's, not yet removed
    deleted.mkdir()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: own.pid != pid and broker_status(folder(own)).answers)
    assert not deleted.exists()
    assert broker_status(folder(own)) == BrokerStatus(
        True, True, servers, own.pid, 1, folder(own) / "broker/logs"
    )
    produce(servers, name, [b"after"])
    assert consume(servers, name, 2) == [b"before", b"after"]


def test_a_killed_supervisor_takes_its_broker_along(own: Broker) -> None:
    state = own._folder.read_state()
    assert state is not None
    assert state.jvm is not None
    state.supervisor.signal(signal.SIGKILL)
    wait_until(lambda: not state.supervisor.alive())
    with ensure_broker(folder(own), log=lambda _line: None) as again:
        assert again.owned
        assert again.pid != state.jvm.pid
        assert not state.jvm.alive()
        assert again.bootstrap_servers == own.bootstrap_servers


def test_steps_around_a_port_in_use(tmp_path: Path, topic_name: Callable[..., str]) -> None:
    name = topic_name()
    with ensure_broker(tmp_path, log=lambda _line: None) as first:
        taken = int(first.bootstrap_servers.rsplit(":", 1)[1])
        create_topic(first.bootstrap_servers, name)
        produce(first.bootstrap_servers, name, [b"kept"])
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", taken))
        squatter.listen()
        with ensure_broker(tmp_path, log=lambda _line: None) as second:
            assert not second.bootstrap_servers.endswith(f":{taken}")
            assert consume(second.bootstrap_servers, name, 1) == [b"kept"]


def test_a_kept_one_stays_without_users_until_it_is_stopped(own: Broker) -> None:
    state = own._folder.read_state()
    assert state is not None
    assert state.jvm is not None
    own.keep()
    own.close()
    assert broker_status(folder(own)).answers
    assert stop_broker(folder(own))
    assert not (folder(own) / "broker/keep").exists()
    assert not state.jvm.alive()
    assert not state.supervisor.alive()
    assert not broker_status(folder(own)).running
    assert not stop_broker(folder(own))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", state.port))
    assert (folder(own) / "broker/data/.kafka_cleanshutdown").exists()
    assert "killing it" not in (folder(own) / "broker/logs/supervisor.log").read_text()


def test_the_last_user_stops_it(tmp_path: Path) -> None:
    """One of them was told that it is not for production."""
    lines: list[str] = []
    first = ensure_broker(tmp_path, log=lines.append)
    second = ensure_broker(tmp_path, log=lines.append)
    assert (first.owned, second.owned) == (True, False)
    assert sum("NOT FOR PRODUCTION" in line for line in lines) == 1
    first.close()
    first.close()
    assert broker_status(tmp_path).answers
    second.close()
    assert not broker_status(tmp_path).running


def test_a_broken_start_shows_the_end_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker/data").write_text("not a folder")
    with pytest.raises(BrokerError, match="formatting the broker's storage failed") as caught:
        ensure_broker(tmp_path, log=lambda _line: None)
    assert str(tmp_path / "broker/logs") in caught.value.remedy
    assert not broker_status(tmp_path).running


def test_a_full_disk_is_said_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.kafka.embedded.broker.DISK_FREE_MB_MIN", 10**12)
    with pytest.raises(BrokerError, match="MB are free"):
        ensure_broker(tmp_path, log=lambda _line: None)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match="cannot use"):
        ensure_broker(tmp_path / "file" / "data", log=lambda _line: None)


def test_too_little_memory_is_said_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.kafka.embedded.broker.MEMORY_MB_MIN", 10**12)
    with pytest.raises(BrokerError, match="of memory are available"):
        ensure_broker(tmp_path, log=lambda _line: None)


def test_starts_from_the_cache_of_its_classes(embedded_broker: Broker) -> None:
    command = Path(f"/proc/{embedded_broker.pid}/cmdline").read_text().split("\0")
    assert any(word.startswith("-XX:AOTCache=") for word in command)
    # The JVM complains here when the cache does not fit.
    assert "[aot]" not in (folder(embedded_broker) / "broker/logs/jvm.out").read_text()


def test_a_failing_training_run_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "headrace/kafka").mkdir(parents=True)
    lines: list[str] = []
    for _start in range(2):
        broker_startup_cache.ensure_startup_cache([], lines.append)
    assert len(lines) == 2
    assert "a few seconds later" in lines[1]
    assert broker_startup_cache.startup_flags() == []


def test_a_damaged_jar_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = min(broker_jars.read_lock(), key=lambda jar: jar.size_bytes)
    monkeypatch.setattr(broker_jars, "read_lock", lambda: [small])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lines: list[str] = []
    [path] = broker_jars.ensure_jars(lines.append)
    assert len(lines) == 1
    broker_jars.ensure_jars(lines.append)
    assert len(lines) == 1
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    broker_jars.ensure_jars(lines.append)
    assert len(lines) == 2
    assert path.read_bytes() == content


def test_no_network_on_first_use_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(BrokerError, match="needs the network on its first use"):
        broker_jars.ensure_jars(lambda _line: None)


def test_ports_are_kept_and_distinct() -> None:
    first = broker_jvm.choose_ports(None)
    assert first[0] != first[1]
    assert broker_jvm.choose_ports(first) == first


def test_a_process_is_told_from_a_later_one_of_its_number() -> None:
    own_id = ProcessId.of(os.getpid())
    assert own_id.alive()
    assert not ProcessId(own_id.pid, own_id.start_ticks - 1).alive()

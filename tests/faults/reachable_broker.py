"""A broker at an address of the test's own, where a network namespace reaches it, and no other machine."""

from __future__ import annotations

import base64
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from app.kafka.embedded import jvm as broker_jvm
from app.kafka.embedded.folder import Folder
from app.kafka.embedded.jars import ensure_jars
from app.kafka.embedded.startup_cache import startup_flags

_UP_S_MAX = 120


class ReachableBroker:
    """One JVM, without the embedded broker's supervisor."""

    def __init__(self, host: str, path: Path) -> None:
        folder = Folder(path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(broker_jvm, "HOST", host)
            ports = broker_jvm.choose_ports(None)
            jars = ensure_jars(lambda _line: None)
            self._jvm = broker_jvm.BrokerJvm(folder, jars, *ports, startup_flags())
            self._jvm.write_configuration()
        self._jvm.format_storage(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
        self.host, self.port = host, self._jvm.port
        self.servers = f"{host}:{self.port}"

    def advertise(self, port: int) -> None:
        """Before it is started: name this port to clients, of a proxy that forwards to the broker's own."""
        text = self._jvm.properties_path.read_text()
        own = f"advertised.listeners=PLAINTEXT://{self.servers}"
        assert own in text
        named = f"advertised.listeners=PLAINTEXT://{self.host}:{port}"
        self._jvm.properties_path.write_text(text.replace(own, named))

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._jvm.start()
        deadline = time.monotonic() + _UP_S_MAX
        while True:
            try:
                admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
                admin.list_topics(timeout=1)
                return
            except KafkaException:
                assert time.monotonic() < deadline, "the broker is not up"

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        assert self._jvm.process is not None
        self._jvm.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; returns at once."""
        assert self._jvm.process is not None
        self._jvm.process.send_signal(number)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it; nothing of it is left at the end."""
        try:
            self.start()
            yield
        finally:
            self._jvm.stop(lambda _line: None)
            shutil.rmtree(self._jvm.folder.path)


@contextmanager
def reachable_broker(host: str, path: Path) -> Iterator[ReachableBroker]:
    """One that runs."""
    path.mkdir(exist_ok=True)
    made = ReachableBroker(host, path)
    with made.running():
        yield made

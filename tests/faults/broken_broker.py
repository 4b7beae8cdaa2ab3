"""An embedded broker of the test's own that is killed, kept down, or left hanging."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.kafka.embedded.broker import Broker, broker_status
from app.kafka.embedded.folder import State


def kill(broker: Broker) -> None:
    """SIGKILL; returns when the broker's supervisor has started it again and it answers."""
    jvm = _state(broker).jvm
    assert jvm is not None
    jvm.signal(signal.SIGKILL)
    wait_until_back(broker, jvm.pid)


@contextmanager
def down(broker: Broker) -> Iterator[None]:
    """The broker is killed, and not started again before the end."""
    state = _state(broker)
    assert state.jvm is not None
    state.supervisor.signal(signal.SIGSTOP)
    try:
        state.jvm.signal(signal.SIGKILL)
        yield
    finally:
        state.supervisor.signal(signal.SIGCONT)
    wait_until_back(broker, state.jvm.pid)


@contextmanager
def hanging(broker: Broker) -> Iterator[None]:
    """The broker takes connections, as the kernel does it for a process that is stopped, and says nothing."""
    jvm = _state(broker).jvm
    assert jvm is not None
    jvm.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        jvm.signal(signal.SIGCONT)


def wait_until_back(broker: Broker, former: int, timeout_s: float = 240) -> None:
    """Wait until another process than the former one serves clients."""
    deadline = time.monotonic() + timeout_s
    folder = broker._folder.path.parent
    while broker.pid == former or not broker_status(folder).answers:
        assert time.monotonic() < deadline, f"the broker is not back within {timeout_s:.0f} s"
        time.sleep(0.05)


def _state(broker: Broker) -> State:
    state = broker._folder.read_state()
    assert state is not None
    return state

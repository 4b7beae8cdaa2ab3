"""Network namespaces for workers: one whose packets are lost on a way, or several that are hosts of one network.

Packets are lost silently, as on a broken link: the neighbour's hardware address is made a wrong one.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

_NOBODY = "02:00:00:00:00:ff"


class Namespace:
    """A namespace and the two ends of its cable: `host` is our address, `guest` the worker's."""

    def __init__(self) -> None:
        mark = uuid.uuid4().hex[:6]
        self.name, self._outer, self._inner = f"hr-{mark}", f"hro{mark}", f"hri{mark}"
        subnet = f"10.{200 + int(mark[:2], 16) % 50}.{int(mark[2:4], 16)}"
        self.host, self.guest = f"{subnet}.1", f"{subnet}.2"

    @property
    def prefix(self) -> list[str]:
        """What a command begins with that is to run in there."""
        return ["ip", "netns", "exec", self.name]

    def make(self) -> None:
        """CalledProcessError: this machine does not let us."""
        _run("ip", "netns", "add", self.name)
        _run("ip", "link", "add", self._outer, "type", "veth", "peer", "name", self._inner)
        _run("ip", "link", "set", self._inner, "netns", self.name)
        _run("ip", "addr", "add", f"{self.host}/30", "dev", self._outer)
        _run("ip", "link", "set", self._outer, "up")
        _run(*self.prefix, "ip", "addr", "add", f"{self.guest}/30", "dev", self._inner)
        _run(*self.prefix, "ip", "link", "set", self._inner, "up")
        _run(*self.prefix, "ip", "link", "set", "lo", "up")

    def remove(self) -> None:
        """Nothing of it is left."""
        subprocess.run(["ip", "link", "del", self._outer], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    @contextmanager
    def cut(self, *, outward: bool, inward: bool) -> Iterator[None]:
        """Packets of the worker (outward) or to it (inward) are lost meanwhile."""
        ends = [
            ([], self.guest, self._outer, inward),
            (self.prefix, self.host, self._inner, outward),
        ]
        lost = [(prefix, address, device) for prefix, address, device, cut in ends if cut]
        for prefix, address, device in lost:
            neighbour = (address, "lladdr", _NOBODY, "dev", device, "nud", "permanent")
            _run(*prefix, "ip", "neigh", "replace", *neighbour)
        try:
            yield
        finally:
            for prefix, address, device in lost:
                _run(*prefix, "ip", "neigh", "del", address, "dev", device)


class Lan:
    """Hosts on a network of their own. gateway: our address; addresses: the hosts'."""

    def __init__(self, hosts: int) -> None:
        self._mark = uuid.uuid4().hex[:6]
        subnet = f"10.{200 + int(self._mark[:2], 16) % 50}.{int(self._mark[2:4], 16)}"
        self._bridge = f"hrb{self._mark}"
        self.gateway = f"{subnet}.1"
        self.addresses = [f"{subnet}.{2 + number}" for number in range(hosts)]

    def prefix(self, number: int) -> list[str]:
        """What a command begins with that is to run on a host."""
        return ["ip", "netns", "exec", f"hr{number}-{self._mark}"]

    def make(self) -> None:
        """CalledProcessError: this machine does not let us."""
        _run("ip", "link", "add", self._bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{self.gateway}/24", "dev", self._bridge)
        _run("ip", "link", "set", self._bridge, "up")
        for number, address in enumerate(self.addresses):
            name, (outer, inner) = self.prefix(number)[-1], self._cable(number)
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
            _run("ip", "link", "set", inner, "netns", name)
            _run("ip", "link", "set", outer, "master", self._bridge, "up")
            _run(*self.prefix(number), "ip", "addr", "add", f"{address}/24", "dev", inner)
            _run(*self.prefix(number), "ip", "link", "set", inner, "up")
            _run(*self.prefix(number), "ip", "link", "set", "lo", "up")

    def remove(self) -> None:
        """Nothing of it is left."""
        for number in range(len(self.addresses)):
            name = self.prefix(number)[-1]
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self._bridge], capture_output=True, check=False)

    @contextmanager
    def unplugged(self, number: int) -> Iterator[None]:
        """A host's cable is out meanwhile."""
        outer, _ = self._cable(number)
        _run("ip", "link", "set", outer, "down")
        try:
            yield
        finally:
            _run("ip", "link", "set", outer, "up")

    def _cable(self, number: int) -> tuple[str, str]:
        return f"hro{number}{self._mark}", f"hri{number}{self._mark}"


def namespace() -> AbstractContextManager[Namespace | None]:
    """A namespace; None where that is not possible."""
    return _made(Namespace())


def lan(hosts: int) -> AbstractContextManager[Lan | None]:
    """A network of so many hosts; None where that is not possible."""
    return _made(Lan(hosts))


Network = TypeVar("Network", Namespace, Lan)


@contextmanager
def _made(network: Network) -> Iterator[Network | None]:
    if shutil.which("ip") is None:
        yield None
        return
    try:
        try:
            network.make()
        except subprocess.CalledProcessError:
            yield None
        else:
            yield network
    finally:
        network.remove()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)

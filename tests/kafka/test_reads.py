"""Three workers of a group answer for each other, and say what is missing when one of them is killed."""

from __future__ import annotations

import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import requests

from tests.kafka.running_job import Job, writing
from tests.kafka.sales import SIZE_MS
from tests.kafka.workers import Worker

pytestmark = pytest.mark.kafka

PARTITIONS = 12
WAIT_S = 180
KEYS = 20
"""Of each table are read by key, from each worker: several of each partition."""


class Group:
    """Three workers, each with a web port and a log of its own. hosts: their addresses, if each has its own."""

    def __init__(
        self, job: Job, folder: Path, stack: ExitStack, hosts: Sequence[str] = ("127.0.0.1",) * 3
    ) -> None:
        job.environment |= {
            "HEADRACE_WEB_ENABLED": "true",
            "HEADRACE_TOPIC_PARTITIONS": str(PARTITIONS),
            "HEADRACE_PEER_TIMEOUT_MS": "10000",
            "HEADRACE_SESSION_TIMEOUT_MS": "15000",  # the dead worker is missed for so long
        }
        self.job = job
        self.hosts = hosts
        self.ports = free_ports(3)
        self._http = stack.enter_context(requests.Session())
        self.workers: list[Worker] = []
        for number, port in enumerate(self.ports):
            environment = {
                **job.environment,
                "HEADRACE_WEB_HOST": hosts[number],
                "HEADRACE_WEB_PORT": str(port),
                "HEADRACE_WORKER_ID": f"w{number}",
            }
            log = folder / f"worker-{number}.log"
            self.workers.append(Worker("tests.kafka.reads_job", environment, log))

    def start(self, stack: ExitStack) -> None:
        """Start all; they are gone at the end of the stack."""
        for item in self.workers:
            item.start()
            stack.callback(lambda item=item: item.running and item.kill())

    def ask(self, number: int, path: str) -> tuple[int, Any]:
        """Status and body of what one worker answers."""
        answer = self._http.get(
            f"http://{self.hosts[number]}:{self.ports[number]}{path}", timeout=120
        )
        return answer.status_code, answer.json()

    def key(self, number: int, table: str, key: str) -> tuple[int, Any]:
        return self.ask(number, f"/api/tables/{table}/keys/{quote(key, safe='')}")

    def scan(self, number: int, table: str) -> tuple[list[Any], dict[str, str]]:
        status, body = self.ask(number, f"/scan/{table}")
        assert status == 200, self.workers[number].log_tail()
        return body["rows"], body["missing"]

    def until_whole(self, numbers: tuple[int, ...]) -> None:
        """Wait until none of them misses anything, and all partitions are where they are to stay.

        A worker that has come back makes copies first; while its partitions then come to it, they are missing.
        """
        for number in numbers:
            self.until(number, "share", lambda n=number: self.has_its_share(n, len(numbers)))
        for number in numbers:
            self.until(number, "whole", lambda n=number: not self.scan(n, "by_amount")[1])

    def has_its_share(self, number: int, workers: int) -> bool:
        """Whether a worker has as many partitions of a table as each of so many is to have."""
        return bool(self.ask(number, "/here/by_amount")[1]["partitions"] == PARTITIONS // workers)

    def until(self, number: int, what: str, holds: Callable[[], bool]) -> None:
        """Wait for something that a worker shows."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            assert self.workers[number].running, self.workers[number].log_tail()
            try:
                if holds():
                    return
            except (requests.ConnectionError, orjson.JSONDecodeError):
                pass
            time.sleep(0.1)
        raise AssertionError(f"{what}: not in {WAIT_S} s\n{self.workers[number].log_tail()}")


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture
def group(broker: str, tmp_path: Path) -> Iterator[Group]:
    with ExitStack() as stack:
        group = Group(Job(broker, tmp_path), tmp_path, stack)
        group.start(stack)
        yield group


def test_three_workers_answer_for_each_other(group: Group, full_faults: bool) -> None:
    job = group.job
    sales = job.first_sales(group.workers[0], seed=7)
    group.until_whole((0, 1, 2))
    sales.write(5_000)
    sales.flush()
    check_model(group, (0, 1, 2))

    with writing(sales):
        job.wait_for_progress(group.workers[0])
        check_while_writing(group, (0, 1, 2))
        keys = [row[0] for row in group.scan(0, "by_amount")[0][::40]]
        group.workers[2].kill()
        told_missing(group, (0, 1), keys)
        group.until_whole((0, 1))
        check_while_writing(group, (0, 1))
    check_model(group, (0, 1))

    # once more, before the group has missed it, and it keeps its partitions
    for kept in (False, True) if full_faults else (False,):
        if kept:
            group.workers[2].kill()
        group.ports[2] = free_ports(1)[0]
        group.workers[2].environment["HEADRACE_WEB_PORT"] = str(group.ports[2])
        group.workers[2].start()
        group.until(2, "ready", lambda: group.ask(2, "/ready")[0] == 200)
        group.until_whole((0, 1, 2))
        sales.write(1_000)
        sales.flush()
        check_model(group, (0, 1, 2))

    sales.close_windows(PARTITIONS, 3_600_000)  # a sale of 0 in each partition
    check_model_of_recent(group, (0, 1, 2))


def test_a_worker_that_was_stopped_does_not_answer_from_the_past(group: Group) -> None:
    """It goes on when the others have its partitions, and have read on: it must not give what it still has."""
    job = group.job
    sales = job.first_sales(group.workers[0], seed=8)
    group.until_whole((0, 1, 2))
    sales.write(2_000)
    sales.flush()
    check_model(group, (2,))
    stopped = group.workers[2].process
    assert stopped is not None
    stopped.send_signal(signal.SIGSTOP)
    try:
        group.until_whole((0, 1))
        sales.write(2_000)
        sales.flush()
        check_model(group, (0, 1))
        counts = {row[0]: row[1] for row in group.scan(0, "by_amount")[0][::20]}
    finally:
        stopped.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + WAIT_S
    while True:
        for amount, count in counts.items():  # those of its own partitions need no other worker
            status, body = group.key(2, "by_amount", str(amount))
            assert status == 503 or [row["sales"] for row in body["rows"]] == [count]
        rows, missing = group.scan(2, "by_amount")
        assert missing or sum(row[1] for row in rows) == 4_000
        status, body = group.ask(2, "/api/tables/by_user/keys/user-7")
        assert (status == 200) == body["whole"] == (not body["missing"])
        if not missing:
            break
        assert time.monotonic() < deadline, group.workers[2].log_tail()
    group.until_whole((0, 1, 2))
    check_model(group, (0, 1, 2))


def told_missing(group: Group, numbers: tuple[int, ...], keys: list[int]) -> None:
    """Just after a kill: keys of the dead worker are told, those of the others are answered."""
    for number in numbers:
        rows, missing = group.scan(number, "by_amount")
        assert missing, "the dead worker's partitions"
        assert len(missing) < PARTITIONS
        assert rows, "the living workers' partitions"
        answers = [group.key(number, "by_amount", str(key)) for key in keys]
        whole = [body for status, body in answers if status == 200]
        parts = [body for status, body in answers if status == 503]
        assert whole and parts and len(whole) + len(parts) == len(keys)
        assert all(body["whole"] and body["rows"] for body in whole)
        assert all(not body["whole"] and not body["rows"] for body in parts)
        assert {part["partition"] for body in parts for part in body["missing"]} <= {
            int(partition) for partition in missing
        }


def check_while_writing(group: Group, numbers: tuple[int, ...]) -> None:
    """Each worker gives each key once, and sums only grow."""
    before: dict[int, int] = {}
    for number in numbers * 2:
        rows, missing = group.scan(number, "by_amount")
        assert not missing
        found = {amount: sales for amount, sales, _ in rows}
        assert len(found) == len(rows)
        assert all(found[amount] >= sales for amount, sales in before.items())
        before = found


def check_model_of_recent(group: Group, numbers: tuple[int, ...]) -> None:
    """All that came before the last sales is gone, and their key has begun anew."""
    job = group.job
    topics = [job.sources[0], f"{job.app_id}.recent.repartition"]
    job.cluster.wait_for_lag_zero(topics, group.workers[0], timeout_s=WAIT_S)
    for number in numbers:
        assert group.scan(number, "recent") == ([[0, PARTITIONS, 0]], {})
        for key, rows in ((0, 1), (1, 0)):
            status, body = group.key(number, "recent", str(key))
            assert (status, body["total"]) == (200, rows)


def check_model(group: Group, numbers: tuple[int, ...]) -> None:
    """Everything that was written is read, from whichever worker."""
    job = group.job
    topics = [
        job.sources[0],
        *(f"{job.app_id}.{name}.repartition" for name in ("by_amount", "recent", "by_country")),
    ]
    job.cluster.wait_for_lag_zero(topics, group.workers[0], timeout_s=WAIT_S)
    written = job.cluster.read_json(job.sources[0])
    by_user = Counter(sale["user"] for sale in written)
    by_amount = Counter(sale["amount"] for sale in written)
    windows = Counter(
        (sale["at"] // SIZE_MS * SIZE_MS, sale["country"], sale["amount"]) for sale in written
    )
    start = max(windows)[0]
    newest = {key[1:]: count for key, count in windows.items() if key[0] == start}
    for number in numbers:
        for table, model in (("by_amount", by_amount), ("by_user", by_user)):
            rows, missing = group.scan(number, table)
            assert not missing
            assert Counter({row[0]: row[1] for row in rows}) == model and len(rows) == len(model)
            for key in sorted(model)[:: len(model) // KEYS]:
                status, body = group.key(number, table, str(key))
                assert (status, body["whole"], body["missing"]) == (200, True, [])
                assert [row["sales"] for row in body["rows"]] == [model[key]]
        rows, missing = group.scan(number, "recent")
        assert not missing
        assert {row[0]: row[1] for row in rows} == by_amount
        rows, missing = group.scan(number, "by_country")
        assert not missing
        assert {(row[0], row[2], row[3]): row[4] for row in rows} == windows
        for window in ("newest", str(start)):
            status, body = group.ask(number, f"/api/tables/by_country/windows/{window}?limit=500")
            assert status == 200 and body["whole"] and body["total"] == len(newest)
            first = {(row["country"], row["amount"]): row["sales"] for row in body["rows"]}
            assert first.items() <= newest.items() and len(first) == min(500, len(newest))

"""A group of real workers on twelve partitions, whose members the tests kill, stop, cut off and start again."""

from __future__ import annotations

import random
import signal
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import orjson
import requests
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.faults.network import Namespace
from tests.kafka.running_job import Job, model_sums, sums
from tests.kafka.sales import COUNTRIES, Model, Sales, only_once
from tests.kafka.source_log import SourceLog
from tests.kafka.workers import Worker

PARTITIONS = 12
SESSION_TIMEOUT_MS = 3000
TRANSACTION_TIMEOUT_MS = 5000
_POLL_S = 0.05
_PATIENCE_S = 240
"""On a machine that has other things to do; only a fault that is never mended takes so long."""


class Group(Job):
    """Workers of one application, each with a folder and a log of its own; none runs yet."""

    def __init__(
        self,
        broker: str,
        folder: Path,
        size: int = 3,
        module: str = "tests.kafka.job",
        **settings: str,
    ) -> None:
        super().__init__(broker, folder)
        self._module = module
        self.environment |= {
            "HEADRACE_TOPIC_PARTITIONS": str(PARTITIONS),
            "HEADRACE_SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
            "HEADRACE_HEARTBEAT_INTERVAL_MS": "500",
            "HEADRACE_TRANSACTION_TIMEOUT_MS": str(TRANSACTION_TIMEOUT_MS),
            "HEADRACE_WEB_ENABLED": "true",
            "HEADRACE_WEB_HOST": "127.0.0.1",
            # the writers need a while to come back from an outage: until then no partition is idle
            "HEADRACE_IDLE_PARTITION_MS": "60000",
            **settings,
        }
        self._folder = folder
        self.workers = [self._worker(number, folder) for number in range(size)]
        self._wanted: set[Worker] = set()
        self._log_starts: dict[Worker, int] = {}

    def _worker(self, number: int, folder: Path) -> Worker:
        environment = {
            **self.environment,
            "HEADRACE_WORKER_ID": f"w{number}",
            "HEADRACE_WEB_PORT": str(free_port()),
        }
        return Worker(self._module, environment, folder / f"worker-{number}.log")

    def elsewhere(self, item: Worker) -> Worker:
        """Another worker of the same name, with a data directory of its own, as on another machine."""
        number = len(self.workers)
        again = self._worker(number, self._folder)
        again.environment |= {
            "HEADRACE_WORKER_ID": item.environment["HEADRACE_WORKER_ID"],
            "HEADRACE_DATA_DIR": str(self._folder / f"data-{number}"),
        }
        self.workers.append(again)
        return again

    def start(self, *workers: Worker) -> None:
        """Start these workers, or all; from now on one that ends by itself fails the test."""
        for item in workers or self.workers:
            self._log_starts[item] = self.log_size(item)
            item.start()
            self._wanted.add(item)

    def put(self, item: Worker, place: Namespace) -> None:
        """Before any is started: this one is in a namespace, and the others are where it reaches them."""
        item.prefix = place.prefix
        for other in self.workers:
            other.environment["HEADRACE_WEB_HOST"] = place.guest if other is item else place.host

    def kill(self, item: Worker) -> None:
        """SIGKILL."""
        self.end(item, signal.SIGKILL)

    def end(self, item: Worker, number: signal.Signals) -> None:
        """Send a signal, and wait for the worker's end, whatever its exit code is."""
        self._wanted.discard(item)
        item.signal(number)
        item.wait(30)

    def may_end(self, *workers: Worker) -> None:
        """From now on it is right if these end by themselves."""
        self._wanted.difference_update(workers)

    def must_run(self, item: Worker) -> None:
        """It lives, and from now on it is wrong again if it ends by itself."""
        self._wanted.add(item)

    def expect_end(self, item: Worker, code: int, event: str) -> None:
        """Wait until a worker ends by itself, with this code and this as its last event."""
        self._wanted.discard(item)
        found = item.wait(120)
        assert (found, event in item.log_tail(1000)) == (code, True), item.log_tail()

    def stop(self, *workers: Worker) -> None:
        """SIGTERM to these, or to all; they must end in order."""
        ending = workers or tuple(self._wanted)
        self.wait_until_ready(*ending)
        for item in ending:
            self._wanted.discard(item)
            item.signal(signal.SIGTERM)
        for item in ending:
            code = item.wait(60)
            assert code == 0, f"exit code {code}:\n{item.log_tail()}"

    def stop_anyhow(self, item: Worker) -> None:
        """SIGTERM at whatever stage of its start it is; it must end in order, if it knows the signal already."""
        self._wanted.discard(item)
        item.signal(signal.SIGTERM)
        code = item.wait(60)
        with item.log_path.open() as log:
            log.seek(self._log_starts[item])
            begun = "worker.starting" in log.read()
        assert code == 0 or (code == -signal.SIGTERM and not begun), (
            f"exit code {code}:\n{item.log_tail()}"
        )

    def log_size(self, item: Worker) -> int:
        """Where a worker's log ends now."""
        return item.log_path.stat().st_size if item.log_path.exists() else 0

    def wait_for_line(
        self,
        item: Worker,
        *events: str,
        since: int | None = None,
        timeout_s: float = _PATIENCE_S,
    ) -> None:
        """Wait until a worker has logged one of these since its last start, or since its log had this size."""
        self.wait(
            lambda: any(self.has_logged(item, event, since) for event in events),
            timeout_s,
            f"a worker has not logged {' or '.join(events)}",
        )

    def has_logged(self, item: Worker, event: str, since: int | None = None) -> bool:
        """Whether it has, since its last start, or since its log had this size."""
        with item.log_path.open("rb") as log:
            log.seek(self._log_starts[item] if since is None else since)
            return f'"event": "{event}"'.encode() in log.read()

    def wait_until_ready(self, *workers: Worker) -> None:
        """Wait until these workers, or all that run, have told that they are ready."""
        for item in workers or tuple(self._wanted):
            self.wait_for_line(item, "worker.ready")

    @property
    def running(self) -> bool:
        """Whether all that have been started, and not ended by the test, live."""
        return all(item.running for item in self._wanted)

    def log_tail(self, characters: int = 6000) -> str:
        """The end of each worker's log, first of those that have ended by themselves."""
        items = sorted(self.workers, key=lambda item: item in self._wanted and item.running)
        return "\n".join(
            f"--- {item.environment['HEADRACE_WORKER_ID']}\n{item.log_tail(characters)}"
            for item in items
            if item.process is not None
        )

    def positions(self) -> dict[int, int]:
        """The committed offsets of the sales; empty while the cluster does not tell."""
        try:
            return self.cluster.committed(self.sources[0])
        except KafkaException:
            self.cluster.renew()
            return {}

    def state_of(self, item: Worker) -> Path:
        """The folder of a worker's state."""
        return self.data_dir / "state" / self.app_id / item.environment["HEADRACE_WORKER_ID"]

    def name(self, item: Worker) -> str:
        """What the group knows a worker by."""
        return f"{self.app_id}-{item.environment['HEADRACE_WORKER_ID']}"

    def assignment(self) -> dict[str, set[int]]:
        """The partitions of the sales of each member."""
        admin = AdminClient({"bootstrap.servers": self.broker})
        described = admin.describe_consumer_groups([self.app_id])[self.app_id].result(30)
        return {
            member.group_instance_id: {
                tp.partition
                for tp in member.assignment.topic_partitions
                if tp.topic == self.sources[0]
            }
            for member in described.members
        }

    def wait_for_shares(self, size: int, *workers: Worker) -> None:
        """Wait until each of these workers, or of all that run, has been assigned this many partitions."""
        names = [self.name(item) for item in workers or self._wanted]

        def shared() -> bool:
            found = self.assignment()
            return all(len(found.get(name, ())) == size for name in names)

        self.wait(shared, _PATIENCE_S, f"not everybody has {size} partitions")

    def wait_for_all(
        self, timeout_s: float = _PATIENCE_S, partitions: Collection[int] = range(PARTITIONS)
    ) -> None:
        """Wait until each of the partitions has got further."""
        before: dict[int, int] = {}

        def moved() -> bool:
            now = self.positions()
            if len(before) < PARTITIONS:
                before.update(now)
                return False
            return bool(now) and all(now[number] > before[number] for number in partitions)

        try:
            self.wait(moved, timeout_s, "not all partitions have got further")
        except AssertionError as error:
            with suppress(KafkaException):
                error.add_note(f"before: {before}\nends: {self.cluster.ends(self.sources[0])}")
            raise

    def wait(self, true: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        """Wait until something is so, while the workers that should run do."""
        deadline = time.monotonic() + timeout_s
        while not true():
            assert self.running, f"a worker has ended by itself:\n{self.log_tail()}"
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{otherwise} within {timeout_s:.0f} s; {self.positions()}\n{self.log_tail()}"
                )
            time.sleep(_POLL_S)

    def let_pass_until(self, at: float) -> None:
        """Time passes, up to this moment of the monotonic clock, and no worker ends."""
        self.wait(lambda: time.monotonic() > at, at - time.monotonic() + _PATIENCE_S, "never")

    def finish_all(
        self, sales: Sales, *, written_once: bool = True, dead: bool = False
    ) -> SourceLog:
        """Let all windows close, wait until all is read, end the workers, and check what came out.

        written_once: no broker has been killed, so the source holds exactly what was written, in its order; what is
        sent again after such a kill may come late.
        dead: there may be dead letters, which have all been replayed, and late events.
        """
        sales.flush()
        sales.close_windows(PARTITIONS)
        self.cluster.wait_for_lag_zero(self.sources, self, _PATIENCE_S)
        served = [self._served(item) for item in self._wanted]
        self.stop()
        log = self.check(dead=dead, in_order=written_once)
        assert served == [(model_sums(log), _countries(log))] * len(served)
        self._check_order(log)
        found = Counter(sale["sequence"] for sale in log.sales)
        if written_once:
            assert found == Counter(sales.amounts.keys())
        else:
            assert found.keys() == sales.amounts.keys(), "the broker has lost what it had taken"
        return log

    def _served(self, item: Worker) -> tuple[dict[object, object], dict[object, object]]:
        """What a worker answers for the whole group: the sums of all users, and every window of all countries."""
        users = self._ask(item, "user_sums/windows/newest?limit=500")
        countries = [self._ask(item, f"country_totals/keys/{name}") for name in COUNTRIES]
        return sums(users), only_once(
            [
                ((row["country"], row["window_start"]), (row["sales"], row["amount"]))
                for row in chain(*countries)
            ]
        )

    def _ask(self, item: Worker, path: str) -> list[dict[str, Any]]:
        """All rows of an answer, once no part of it is missing."""
        host, port = item.environment["HEADRACE_WEB_HOST"], item.environment["HEADRACE_WEB_PORT"]
        address = f"http://{host}:{port}/api/tables/{path}"
        answer: dict[str, Any] = {}

        def whole() -> bool:
            with suppress(requests.ConnectionError, ValueError):
                answer.update(requests.get(address, timeout=60).json())
            return bool(answer.get("whole"))

        self.wait(whole, _PATIENCE_S, "a worker does not answer for all partitions")
        assert answer["total"] == len(answer["rows"])
        rows: list[dict[str, Any]] = answer["rows"]
        return rows

    def _check_order(self, log: SourceLog) -> None:
        """What is passed on of each user is in the order of the source, and all of it."""
        source = _sequences_by_user(log.sales)
        passed = _sequences_by_user(
            orjson.loads(message.value() or b"")
            for message in self.cluster.read(self.topic("passed"))
        )
        for user, sequences in source.items():
            found = passed[user]
            assert found == sequences, next(
                f"{user}: {here} where the source has {there}, {at} of {len(sequences)}"
                for at, (here, there) in enumerate(zip_longest(found, sequences))
                if here != there
            )

    def close(self) -> None:
        """End whatever still runs."""
        for item in self.workers:
            if item.running:
                item.kill()


def _countries(log: SourceLog) -> dict[object, object]:
    """Every window of a country that can still be read."""
    model = Model(log.on_time)
    kept = model.kept(model.all_countries)
    return {key: found for key, found in kept.items() if key[0] in COUNTRIES}


@contextmanager
def running_group(
    broker: str,
    folder: Path,
    size: int = 3,
    *,
    started: int | None = None,
    module: str = "tests.kafka.job",
    **settings: str,
) -> Iterator[Group]:
    """A group whose workers have been started (the first `started`, or all); none is left at the end."""
    group = Group(broker, folder, size, module, **settings)
    try:
        if started != 0:
            group.start(*group.workers[:started])
        yield group
    finally:
        group.close()


@contextmanager
def load(
    group: Group, seed: int, events_per_s: int = 1000, sales: Sales | None = None
) -> Iterator[Sales]:
    """Sales come in steadily, at first or again; the faults begin when all partitions are worked on."""
    sources = group.sources[:1]
    group.wait(lambda: bool(group.cluster.partitions(*sources)), _PATIENCE_S, "no topics")
    sales = sales or Sales(group.broker, *sources, seed)
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        began, written = time.monotonic(), 0
        try:
            while not stop.is_set():
                due = int((time.monotonic() - began) * events_per_s) - written
                sales.write(min(due, 5 * events_per_s))
                written += due
                stop.wait(0.02)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        group.wait_for_all()
        yield sales
    except AssertionError as error:
        error.add_note(f"writer: {sales}")
        raise
    finally:
        stop.set()
        thread.join()
        assert not failures, failures


def free_port() -> int:
    """A port that no connection is given by chance, while the worker that has it does not run."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(10_000, 20_000)))
            return int(probe.getsockname()[1])


def _sequences_by_user(sales: Iterable[dict[str, Any]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for sale in sales:
        found[sale["user"]].append(sale["sequence"])
    return found

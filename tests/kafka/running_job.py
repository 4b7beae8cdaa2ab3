"""The test application on a broker: how to run it, and what must have come out of it."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import KafkaException

from app.engine import names
from tests.kafka.sales import Model, Sales, only_once
from tests.kafka.source_log import SourceLog, origin
from tests.kafka.table_rows import table_rows
from tests.kafka.workers import Cluster, Worker, worker

PARTITIONS = 4


class Job:
    """One application of its own on the shared broker."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.app_id = f"job-{uuid.uuid4().hex[:8]}"
        self.broker = broker
        self.data_dir = folder / "data"
        self.environment = {
            "HEADRACE_BROKER": broker,
            "HEADRACE_APP_ID": self.app_id,
            "HEADRACE_DATA_DIR": str(self.data_dir),
            "HEADRACE_WEB_ENABLED": "false",
        }
        self.cluster = Cluster(broker, self.app_id)
        self.log = folder / "worker.log"
        self.sources = [
            f"{self.app_id}-sales",
            names.repartition_topic(self.app_id, "country_totals"),
        ]

    def worker(self, module: str = "tests.kafka.job") -> AbstractContextManager[Worker]:
        """A worker of the application."""
        return worker(module, self.environment, self.log)

    def topic(self, name: str) -> str:
        """The full name of one of the application's topics."""
        return f"{self.app_id}-{name}"

    def wait_for_progress(self, item: Worker, timeout_s: float = 90) -> None:
        """Wait until the group commits further offsets."""
        deadline = time.monotonic() + timeout_s
        before = None
        while time.monotonic() < deadline:
            assert item.running, item.log_tail()
            try:
                now = sum(self.cluster.committed(self.sources[0]).values()) if self._exists() else 0
            except KafkaException:  # the broker is away
                now = None
            if now is not None and before is not None and now > before:
                return
            before = before if now is None else now
            time.sleep(0.05)
        raise AssertionError(f"no progress in {timeout_s} s:\n{item.log_tail()}")

    def _exists(self) -> bool:
        return bool(self.cluster.partitions(self.sources[0]))

    def check(self, *, dead: bool = False, in_order: bool = True) -> SourceLog:
        """Every derived event once, every total right, in Kafka and on the disks of the workers, which have ended.

        Held against what stands in the source topic: a broker that is killed may have taken a producer's
        record twice, and then it counts twice. dead: there may be dead letters, and replays, which come late.
        in_order: the writer never had to send anything again, so nothing is late.
        """
        letters = only_once(
            [
                (origin(letter), dict(letter.headers())["headrace_stage"])
                for letter in self.cluster.read(names.dead_letter_topic(self.app_id))
            ]
        )
        unread = {here for here, stage in letters.items() if stage == b"decode"}
        log = SourceLog(self.cluster.read(self.sources[0]), unread)
        if not dead:
            assert letters == {}
        if in_order and not dead:
            assert not log.late, "the writer's order was lost"
        for table in ("user_totals", "country_totals"):
            late = only_once(
                [(origin(event), None) for event in self.cluster.read(self._late_topic(table))]
            )
            assert set(late) == log.late, f"late in {table}"
        passed = self.cluster.read(self.topic("passed"))
        only_once([(dict(message.headers())["ce_id"], None) for message in passed])
        rows = [orjson.loads(message.value()) for message in passed]
        assert Counter(_sale(row) for row in rows) == Counter(_sale(sale) for sale in log.sales)
        model = Model(log.on_time)
        users = only_once(
            [
                ((row["user"], row["window_start"]), (row["sales"], row["amount"], row["largest"]))
                for row in self.cluster.read_json(self.topic("user-totals"))
            ]
        )
        assert users == model.users
        self.check_countries(log)
        self._check_state(log, model)
        return log

    def check_countries(self, log: SourceLog) -> None:
        """The repartitioned table's derived events, each once."""
        countries = only_once(
            [
                ((row["country"], row["window_start"]), (row["sales"], row["amount"]))
                for row in self.cluster.read_json(self.topic("country-totals"))
            ]
        )
        assert countries == Model(log.on_time).countries

    def _check_state(self, log: SourceLog, model: Model) -> None:
        """The tables, restored from their changelogs; each RocksDB holds what the changelogs do."""
        folders = sorted(self.data_dir.parent.glob("data*/state/*/*/rocksdb"))
        rows = table_rows(self.environment, folders)
        assert sums(rows["user_sums"]) == model_sums(log)
        users = [
            ((row["user"], row["window_start"]), (row["sales"], row["amount"], row["largest"]))
            for row in rows["user_totals"]
        ]
        assert only_once(users) == model.kept(model.all_users)
        countries = [
            ((row["country"], row["window_start"]), (row["sales"], row["amount"]))
            for row in rows["country_totals"]
        ]
        assert only_once(countries) == model.kept(model.all_countries)

    def _late_topic(self, table: str) -> str:
        return names.late_topic(self.app_id, table)

    def first_sales(self, item: Worker, seed: int) -> Sales:
        """Wait until the worker has made its topics, then begin to write."""
        deadline = time.monotonic() + 60
        while not self._exists():
            assert item.running, item.log_tail()
            assert time.monotonic() < deadline, item.log_tail()
            time.sleep(0.05)
        return Sales(self.broker, self.sources[0], seed)

    def lose_data(self) -> None:
        """Delete the worker's data directory."""
        shutil.rmtree(self.data_dir)

    def finish(self, item: Worker, sales: Sales, *, in_order: bool = True) -> None:
        """Let all windows close, wait until everything is read, and check what came out."""
        self.drain(item, sales)
        self.check(in_order=in_order)

    def drain(self, item: Worker, sales: Sales) -> None:
        """Let all windows close, wait until everything is read, and stop the worker."""
        sales.flush()
        sales.close_windows(PARTITIONS)
        self.cluster.wait_for_lag_zero(self.sources, item)
        assert item.stop(60) == 0, item.log_tail()


def sums(rows: Iterable[dict[str, Any]]) -> dict[object, object]:
    """What the table without windows has of each user: sales and amount."""
    return only_once([(row["user"], (row["sales"], row["amount"])) for row in rows])


def model_sums(log: SourceLog) -> dict[object, object]:
    """What it must have."""
    amounts: dict[object, list[int]] = {}
    for sale in log.sales:
        amounts.setdefault(sale["user"], []).append(sale["amount"])
    return {user: (len(item), sum(item)) for user, item in amounts.items()}


def _sale(row: dict[str, object]) -> tuple[object, object]:
    return row["sequence"], row["amount"]


EVENTS_PER_S = 1000


@contextmanager
def writing(sales: Sales) -> Iterator[None]:
    """Sales are written in the background, EVENTS_PER_S."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            sales.write(EVENTS_PER_S // 20)
            sales.flush()
            stop.wait(0.05)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

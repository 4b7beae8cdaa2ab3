"""A changelog on a real broker, written by hand, and what a store has of it."""

from __future__ import annotations

import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from app.engine import names
from app.engine.state.store import Store
from app.kafka.topics import CHANGELOG_CONFIG
from app.state.uptime import Uptime, uptime

TABLE = "sales"
State = dict[bytes, bytes]


class Changelog:
    """The changelog of a table of two partitions, and what it holds by a plain dict."""

    def __init__(self, servers: str, app_id: str) -> None:
        self._servers, self._app_id = servers, app_id
        self.topic = names.changelog_topic(app_id, TABLE)
        self._admin = AdminClient({"bootstrap.servers": servers})
        new = NewTopic(self.topic, 2, 1, config=dict(CHANGELOG_CONFIG))
        self._admin.create_topics([new])[self.topic].result()
        self.producer = Producer({"bootstrap.servers": servers, "transactional.id": app_id})
        self.producer.init_transactions()
        self.state: tuple[State, State] = ({}, {})

    def write(self, entries: list[tuple[int, bytes, bytes | None]], *, commit: bool = True) -> None:
        """One transaction of (partition, key, value)s."""
        self.producer.begin_transaction()
        for partition, key, value in entries:
            self.producer.produce(self.topic, value, key, partition=partition)
            if commit and value is None:
                self.state[partition].pop(key, None)
            elif commit:
                self.state[partition][key] = value
        if commit:
            self.producer.commit_transaction()
        else:
            self.producer.flush()  # what Kafka has not heard of cannot be aborted
            self.producer.abort_transaction()

    def made_anew(self) -> Changelog:
        """Another one of the same name, which has nothing."""
        self._admin.delete_topics([self.topic])[self.topic].result()
        while self.topic in self._admin.list_topics(timeout=10).topics:
            time.sleep(0.05)
        return Changelog(self._servers, self._app_id)


class Clock:
    """The uptime of a store's machine, which the test moves on."""

    ahead_s = 0

    def __call__(self) -> Uptime:
        now = uptime()
        return Uptime(now.boot, now.seconds + self.ahead_s)


def stored(store: Store) -> tuple[State, State]:
    """What a store holds of the two partitions; it may be written to meanwhile."""
    found: tuple[State, State] = {}, {}
    for number, values in enumerate(found):
        for key in store.heads(TABLE, number):
            value = store.get(TABLE, number, key)
            if value is not None:  # it can go between the two reads
                values[key] = value
    return found

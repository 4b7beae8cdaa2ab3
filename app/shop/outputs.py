"""Reads what the worker has published: derived events, late events and dead letters, committed ones only."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

_READ_RECORDS_MAX = 5000
_POLL_S = 0.2


class Outputs:
    """Follows the output topics in a thread of its own, from the given offsets on.

    app_id:  derived events of other applications are passed over.
    starts:  (topic, partition) to the first offset.
    derived: topics of derived events. late: late topic to table. dead: the dead-letter topic.
    kept:    topics whose events are kept, to be compared later.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        app_id: str,
        starts: Mapping[tuple[str, int], int],
        *,
        derived: Collection[str],
        late: Mapping[str, str],
        dead: str,
        kept: Collection[str],
    ) -> None:
        self._source = f"{app_id}/".encode()
        self._derived, self._late, self._dead = frozenset(derived), dict(late), dead
        self._kept = frozenset(kept)
        self.values: dict[str, list[bytes]] = {topic: [] for topic in kept}
        self.derived: Counter[str] = Counter()
        self.late: Counter[str] = Counter()
        self.dead = 0
        self.error: str | None = None
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"{app_id}.outputs",  # never joined: partitions are assigned by hand
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(*here, offset) for here, offset in starts.items()])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="outputs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stopping.set()
        self._thread.join()

    def _follow(self) -> None:
        try:
            while not self._stopping.is_set():
                for message in self._consumer.consume(_READ_RECORDS_MAX, _POLL_S):
                    self._take(message)
        except Exception as error:  # told by whoever asks next
            self.error = f"{type(error).__name__}: {error}"
        finally:
            self._consumer.close()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                self.error = error.str()
            return
        topic, headers = message.topic(), dict(message.headers() or ())
        assert topic is not None
        if topic in self._late:
            self.late[self._late[topic]] += _late_events(message, headers)
        elif topic == self._dead:
            self.dead += 1
        elif topic in self._derived and headers.get("ce_source", b"").startswith(self._source):
            self.derived[topic] += 1
            if topic in self._kept:
                self.values[topic].append(message.value() or b"")


def _late_events(message: Message, headers: Mapping[str, bytes]) -> int:
    """One, unless the record is a partial aggregate of several events."""
    if "headrace_partial" not in headers:
        return 1
    partial = msgspec.json.decode(message.value() or b"", type=dict[str, object])
    return int(str(partial["_events"]))

"""Reading a topic again, as whole fetches, outside of any group."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Timed

from app.codecs.record_batch import Fetch
from app.kafka.columnar_topics import columnar
from app.kafka.fetching import transport  # noqa: F401 - whose fetches are whole
from app.kafka.fetching.answers import FETCH_BYTES_MAX
from app.kafka.offsets import PartitionEnds

_FETCH_MS = 500


class SourceReplay:
    """Reads the partitions of one topic from given places up to given offsets."""

    def __init__(
        self,
        bootstrap_servers: str,
        app_id: str,
        topic: str,
        *,
        fetch_bytes_max: int,
        timeout_s: float,
    ) -> None:
        self._servers = bootstrap_servers
        self._name = f"{app_id}-rebuild"
        self._topic = topic
        self._fetch_bytes_max = fetch_bytes_max
        self._timeout_s = timeout_s
        self._ends = PartitionEnds(bootstrap_servers, app_id, timeout_s=timeout_s)

    def starts(self, ends: Mapping[int, int], since_ms: int | None) -> dict[int, int]:
        """The first offset of each partition that is retained, and not older than this; `ends` if none is (blocks)."""
        here = [(self._topic, number) for number in ends]
        starts = {number: start for (_, number), start in self._ends.starts(here).items()}
        if since_ms is not None:
            consumer = Consumer({"bootstrap.servers": self._servers, "group.id": self._name})
            try:
                asked = [Timed(*item, since_ms) for item in here]
                for found in consumer.offsets_for_times(asked, self._timeout_s):
                    # a negative one: there is nothing so late
                    later = found.offset if found.offset >= 0 else ends[found.partition]
                    starts[found.partition] = max(starts[found.partition], later)
            finally:
                consumer.close()
        return {number: min(start, ends[number]) for number, start in starts.items()}

    async def fetches(
        self, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> AsyncIterator[Fetch]:
        """The fetches of each partition from its start, until its end is reached. TimeoutError: no answer."""
        columnar.add(self._topic)
        left = {TopicPartition(self._topic, number): ends[number] for number in starts}
        if not left:
            return
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            client_id=self._name,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_bytes=FETCH_BYTES_MAX,
            max_partition_fetch_bytes=self._fetch_bytes_max,
        )
        await consumer.start()
        try:
            consumer.assign(list(left))
            for tp in left:
                consumer.seek(tp, starts[tp.partition])
            heard_at = time.monotonic()
            while left:
                # of all partitions: what was read ahead of one that has ended would be kept
                found = await consumer.getmany(timeout_ms=_FETCH_MS)
                for tp, fetches in found.items():
                    for fetch in fetches:
                        if tp not in left:
                            break
                        yield fetch
                        if fetch.end >= left[tp]:
                            del left[tp]
                            consumer.pause(tp)
                if found:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > self._timeout_s:
                    raise TimeoutError(f"no answer about {self._topic}")
        finally:
            await consumer.stop()

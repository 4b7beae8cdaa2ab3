"""What a changelog holds now, without its segments: enough to replace it."""

from __future__ import annotations

import time

from app.codecs.record_batch import Records
from app.engine import names
from app.engine.rebuild import Earlier
from app.engine.state.definition import DEFINITION_KEY
from app.engine.state.table_partition import META_KEY
from app.kafka.changelogs.reader import ChangelogReader
from app.kafka.offsets import PartitionEnds

_FETCH_BYTES, _BUFFER_BYTES = 4 << 20, 16 << 20


def earlier_state(
    bootstrap_servers: str, app_id: str, table: str, partitions: int, *, timeout_s: float
) -> dict[int, Earlier]:
    """Read a table's changelog, read-committed, to the high watermark (blocks).

    KafkaException, ChangelogError: it cannot be read. TimeoutError: a transaction stays open.
    """
    topic = names.changelog_topic(app_id, table)
    here = [(topic, number) for number in range(partitions)]
    ends = PartitionEnds(bootstrap_servers, app_id, timeout_s=timeout_s).ends(here)
    left = {number: end for (_, number), end in ends.items() if end > 0}
    live: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]
    if not left:
        return {number: Earlier.of({}, None, None) for number in range(partitions)}
    reader = ChangelogReader(
        bootstrap_servers,
        f"{app_id}-rebuild",
        fetch_bytes=_FETCH_BYTES,
        buffer_bytes=_BUFFER_BYTES,
        wait_ms=20,
    )
    try:
        reader.follow({(topic, number): 0 for number in left})
        heard_at = time.monotonic()
        while left:
            for chunk in reader.read(0.5):
                heard_at = time.monotonic()
                _keep(chunk.records, live[chunk.partition])
                if chunk.end >= left.get(chunk.partition, 0):
                    left.pop(chunk.partition, None)
            if time.monotonic() - heard_at > timeout_s:
                raise TimeoutError(f"a transaction on {topic} stays open; it ends with its timeout")
    finally:
        reader.close()
    return {
        number: Earlier.of(found, found.get(META_KEY), found.get(DEFINITION_KEY))
        for number, found in enumerate(live)
    }


def _keep(records: Records, live: dict[bytes, bytes]) -> None:
    for row in range(len(records)):
        key, value = records.key(row), records.value(row)
        if key is not None:
            live.pop(key, None)
            if value is not None:
                live[key] = value if key in (META_KEY, DEFINITION_KEY) else b""

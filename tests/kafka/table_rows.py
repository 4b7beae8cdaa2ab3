"""The rows of all tables of the test application, from its changelogs alone: `python -m tests.kafka.table_rows`.

With the folders of RocksDB of all workers as arguments: what they hold is what the changelogs hold.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from tests.kafka.workers import ROOT


def table_rows(
    environment: Mapping[str, str], folders: Iterable[Path] = ()
) -> dict[str, list[dict[str, Any]]]:
    """Ask a process of its own: the application is made from the environment."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kafka.table_rows", *map(str, folders)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    found: dict[str, list[dict[str, Any]]] = orjson.loads(done.stdout)
    return found


def _main(folders: list[Path]) -> None:
    from app.engine import names
    from app.engine.reading.committed_reader import CommittedReader
    from app.engine.reading.restore_progress import RestoreProgress
    from app.kafka.changelogs.restore import ChangelogRestore
    from app.state.open_store import open_store
    from app.testing.memory_store import MemoryStore
    from tests.kafka.job import app, settings
    from tests.kafka.workers import Cluster

    cluster = Cluster(settings.broker, settings.app_id)
    processor, store = app.processor, MemoryStore()
    counts = {topic: len(cluster.partitions(topic)) for topic in processor.topics}
    processor.set_partition_counts(counts)
    parts = [
        (name, number)
        for name, table in processor.tables.items()
        for number in range(counts[processor.read_topic(table)])
    ]
    progress = RestoreProgress(time.monotonic)
    restore = ChangelogRestore(settings.broker, settings.app_id, store, progress, timeout_s=60)
    restore.run(parts)
    tables = {}
    for here in parts:
        tables[here] = processor.table_partition(*here)
        tables[here].load(store)
    processor.add({}, tables, {})
    reader = CommittedReader(processor, store)
    found = {
        name: [
            row for start in reader.windows(name) for row in reader.window(name, start).to_dicts()
        ]
        for name in processor.tables
    }
    ends = {
        (name, message.partition()): message.offset() + 1
        for name in processor.tables
        for message in cluster.read(names.changelog_topic(settings.app_id, name))
    }
    whole = set()
    for folder in folders:
        disk = open_store(folder, block_cache_mb=8, write_buffer_mb=8)
        for here, end in ends.items():
            if (disk.changelog_offset(*here) or 0) >= end:  # an owner's, or a copy at its end
                whole.add(here)
                assert disk.heads(*here) == store.heads(*here), (folder, here)
                keys = list(store.heads(*here))
                assert disk.read(*here, keys) == store.read(*here, keys), (folder, here)
        disk.close()
    assert not folders or whole == ends.keys(), f"no RocksDB has all of {ends.keys() - whole}"
    sys.stdout.buffer.write(orjson.dumps(found))


if __name__ == "__main__":
    _main([Path(item) for item in sys.argv[1:]])

"""A killed worker's partitions go to those that have copies of its tables, and read what is left of the changelogs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from app.engine import names
from tests.faults.group import PARTITIONS, Group, load, running_group
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

TABLES = ("user_totals", "country_totals", "user_sums")


def test_standbys_take_over(broker: str, tmp_path: Path, full_faults: bool) -> None:
    """Again and again; the killed one comes back without its data, so that it begins as a standby from nothing."""
    chance = random.Random(seed := new_seed())
    with running_group(broker, tmp_path) as group:
        with load(group, seed) as sales:
            for _ in range(10 if full_faults else 1):
                group.wait_for_shares(PARTITIONS // 3)
                wait_for_copies(group)
                killed = chance.choice(group.workers)
                others = [item for item in group.workers if item is not killed]
                since = {item: group.log_size(item) for item in others}
                group.kill(killed)
                group.wait_for_shares(PARTITIONS // 2)
                group.wait_for_all()
                read = sum(restored(item, since[item]) for item in others)
                assert 20 * read < written(group), f"{read} records were read"
                if full_faults:
                    group.start(killed)
        group.finish_all(sales)


def wait_for_copies(group: Group) -> None:
    """Wait until all running workers have copies, as of now, of what they stand by for."""
    for item in group.workers:
        group.wait_for_line(item, "standby.caught_up")


def restored(item: Worker, since: int) -> int:
    """The records of the changelogs that a worker has read since its log had this size, to take partitions over."""
    lines = item.log_path.read_bytes()[since:].splitlines()
    events = [json.loads(line) for line in lines if line.startswith(b"{")]
    return sum(event["records"] for event in events if event["event"] == "tables.restored")


def written(group: Group) -> int:
    """The offsets of all changelogs."""
    topics = [names.changelog_topic(group.app_id, table) for table in TABLES]
    return sum(sum(group.cluster.ends(topic).values()) for topic in topics)

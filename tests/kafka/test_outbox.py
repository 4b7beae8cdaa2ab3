"""A checkpoint's derived events as batches: none is lost, what comes of one partition keeps its order."""

from __future__ import annotations

from collections import defaultdict

import polars as pl
import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codecs.murmur2 import partition as partition_of
from app.engine.language.batch import Emission
from app.engine.processing.checkpoint import Checkpoint
from app.events.event import Event, event_type
from app.kafka.transactions import outbox
from app.kafka.transactions.outbox import Outbox

COUNT = 4


class Told(Event, type="test.told", topic="test-told", key="name"):
    """What the tests emit."""

    name: str
    number: int


def emission(partition: int, names: list[str], first: int, prefix: str = "") -> Emission:
    """Ids are `partition:number`; prefix: what of them all have in common."""
    numbers = range(first, first + len(names))
    return Emission(
        Told,
        pl.DataFrame({"name": names, "number": list(numbers)}),
        pl.Series(
            [f"{partition}:{number}".removeprefix(prefix) for number in numbers], dtype=pl.String
        ),
        pl.Series([0] * len(names), dtype=pl.Int64),
        "tellers",
        partition,
        id_prefix=prefix,
    )


def sent(emissions: list[Emission]) -> list[tuple[int, list[tuple[str, str]]]]:
    """Each batch: its partition, and the key and id of its records."""
    topic = event_type(Told).topic
    found = []
    for batch in Outbox("app").batches(Checkpoint({}, emissions=emissions), {topic: COUNT}):
        records = MemoryRecords(bytes(batch.sealed())).next_batch()
        assert records is not None
        found.append(
            (
                batch.partition,
                [(r.key.decode(), dict(r.headers)["ce_id"].decode()) for r in records],
            )
        )
    return found


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 20),
            st.booleans(),
            st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9),
        ),
        max_size=12,
    ),
    st.sampled_from([8, 20, 1 << 16]),
)
def test_all_are_sent_and_those_of_one_partition_in_their_order(
    parts: list[tuple[int, bool, list[str]]], rows_max: int
) -> None:
    emissions, expected = [], defaultdict(list)
    for turn, (partition, prefixed, names) in enumerate(parts):
        prefix = f"{partition}:" if prefixed else ""
        emissions.append(emission(partition, names, 100 * turn, prefix))
        for number, name in enumerate(names, 100 * turn):
            expected[(partition, name)].append(f"{partition}:{number}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "_EMISSION_ROWS_MAX", rows_max)
        batches = sent(emissions)
    found = defaultdict(list)
    for target, records in batches:
        for name, identity in records:
            assert target == partition_of(name.encode(), COUNT)
            found[(int(identity.split(":")[0]), name)].append(identity)
    assert found == expected


def test_partitions_take_turns_when_there_is_much() -> None:
    home = {partition_of(name.encode(), COUNT): name for name in map(str, range(100))}
    emissions = [emission(number, [name] * 50, 0) for number, name in sorted(home.items())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "_EMISSION_ROWS_MAX", 40)
        targets = [target for target, _ in sent(emissions)]
    assert targets[:COUNT] == sorted(home)
    assert targets == targets[:COUNT] * (len(targets) // COUNT)
    assert len(targets) > COUNT

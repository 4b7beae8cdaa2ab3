"""Requests that are encoded in a way of our own are what their schemas say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kafka.transactions.protocol import NO_TAGS, Produce, ProduceAndAdd

names = st.text(max_size=20)
partitions = st.lists(
    st.tuples(st.integers(0, 2**31 - 1), st.binary(max_size=300), st.just(NO_TAGS)), max_size=4
)
topics = st.lists(st.tuples(names, partitions, st.just(NO_TAGS)), max_size=4)


@pytest.mark.parametrize("cls", [Produce, ProduceAndAdd])
@given(
    name=names, acks=st.sampled_from([-1, 0, 1]), timeout_ms=st.integers(0, 2**31 - 1), sent=topics
)
def test_produce(
    cls: type[Produce], name: str, acks: int, timeout_ms: int, sent: list[tuple[object, ...]]
) -> None:
    fields = [name, acks, timeout_ms, sent, NO_TAGS]
    assert cls(*fields).encode() == cls.SCHEMA.encode(fields)

"""Partials on their way to the owner of their key."""

from __future__ import annotations

from app.engine.windows import tumbling
from tests.engine.sales import Sale, table
from tests.engine.segments import segments_of
from tests.engine.workbench import Workbench


def test_a_window_waits_for_all_records_of_a_sender() -> None:
    """What one checkpoint sends may reach the owner in two fetches, with a checkpoint between them."""
    item = table("sales", ("region",), tumbling(10))
    bench = Workbench([item], batch_records_max=1)
    bench.send(0, [(1, Sale(shop="s", region=region)) for region in "abcd"])
    bench.send(0, [(50, Sale(shop="s"))])
    with segments_of(rows_max=1):
        bench.read(0, batches=5)
        bench.checkpoint()
        for _ in range(5):
            bench.read(1, batches=1)
            bench.checkpoint()
    assert bench.late(item) == []
    assert {row["region"] for row in bench.derived(item).values()} == set("abcd")
    bench.close()

"""What the log and the metrics are told of a restore, by a clock that the test sets."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from app.engine.reading.restore_progress import RestoreProgress
from app.monitoring import metrics
from app.restore_told import LOG_INTERVAL_S, RestoreTold


def shown(name: str) -> dict[str, float]:
    """The samples of a gauge, by their labels."""
    found = {}
    for line in metrics.render().decode().splitlines():
        if line.startswith(f"headrace_{name}"):
            label, _, value = line.rpartition(" ")
            found[label.removeprefix(f"headrace_{name}")] = float(value)
    return found


def test_the_log_gets_a_line_per_table_every_few_seconds_and_the_gauges_each_time() -> None:
    now = [50.0]
    progress = RestoreProgress(lambda: now[0])
    told = RestoreTold(progress, lambda: now[0])
    with capture_logs() as lines:
        told.tell()
        assert lines == []
        progress.begin({("sales", 0): (0, 1000), ("visits", 3): (100, 200)})
        told.tell()
        assert [(line["table"], line["percent"]) for line in lines] == [("sales", 0), ("visits", 0)]
        for _ in range(int(LOG_INTERVAL_S)):
            now[0] += 1
            progress.advance("sales", 0, int(now[0] - 50) * 100, 1_000_000)
            told.tell()
    assert len(lines) == 4
    line = lines[2]
    assert line["event"] == "tables.restoring"
    assert (line["offsets"], line["percent"], line["partitions"]) == ("300 of 1000", 30, 1)
    assert (line["read_mb"], line["mb_per_second"]) == (3.0, 1.0)
    assert line["seconds_left"] == 8  # 800 offsets at 100 a second
    assert shown("restore_left_offsets") == {'{table="sales"}': 700, '{table="visits"}': 100}
    assert shown("restore_left_seconds") == {"": pytest.approx(8)}
    progress.end()
    told.tell()
    assert shown("restore_left_offsets") == {}
    assert shown("restore_left_seconds") == {"": 0}

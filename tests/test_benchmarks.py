"""The benchmarks must never rot: their parts without a broker, then all of them at their tiniest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import polars as pl
import pytest

from benchmarks import check, events, latency, scrape
from benchmarks.child import CPU_TICK_S, ROOT, Child, ChildError, cpu_seconds
from benchmarks.events import FIELDS, WINDOW_MS, Workload, encode
from benchmarks.latency_consumer import SAMPLE_EVERY, Ages
from benchmarks.latency_producer import Pool
from benchmarks.stall import Stall
from benchmarks.state_bench import CASES, run
from benchmarks.watched_group import Standstill

SMALL = Workload(events=5_000, keys=50)


# -- events ------------------------------------------------------------------------------------


def test_events_are_the_same_every_time_and_in_order() -> None:
    found = pl.concat(SMALL.chunks())
    assert found.equals(pl.concat(Workload(events=5_000, keys=50).chunks()))
    assert not found.equals(pl.concat(Workload(events=5_000, keys=50, seed=8).chunks()))
    assert found.height == 5_000
    assert found["time"].is_sorted()
    assert found["time"].value_counts()["count"].unique().to_list() == [events.EVENTS_PER_MS]
    assert set(found["partition"]) == {0, 1, 2, 3}


def test_the_json_holds_the_columns_in_about_170_bytes() -> None:
    chunk = next(SMALL.chunks())
    values = encode(chunk)
    assert 160 < sum(map(len, values)) / len(values) < 180
    decoded = pl.DataFrame([msgspec.json.decode(value) for value in values])
    assert decoded.columns == list(FIELDS)
    expected = chunk.select(FIELDS)
    assert decoded.cast(dict(expected.schema)).equals(expected)


def test_totals_against_plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVENTS_PER_MS", 1)
    workload = Workload(events=25_000, keys=20)
    sums: dict[tuple[str, int], list[float]] = {}
    for chunk in workload.chunks():
        for user, time_ms, amount in chunk.select("user", "time", "amount").iter_rows():
            row = sums.setdefault((user, time_ms // WINDOW_MS * WINDOW_MS), [0, 0.0, 0.0])
            row[:] = [row[0] + 1, row[1] + amount, max(row[2], amount)]
    totals = workload.totals()
    assert totals.height == len(sums) == 20 * 3
    for user, window_start, *values in totals.iter_rows():
        assert values == pytest.approx(sums[(user, window_start)], rel=1e-12)


def test_the_closing_events_come_after_every_window() -> None:
    closing = SMALL.closing()
    assert closing["partition"].sort().to_list() == [0, 1, 2, 3]
    assert closing["time"].min() >= SMALL.totals()["window_start"].max() + 2 * WINDOW_MS


# -- checks ------------------------------------------------------------------------------------


def test_the_check_finds_every_kind_of_fault() -> None:
    answer = SMALL.totals()
    values = answer.write_ndjson().encode().splitlines()
    assert check.differences(answer, check.emitted(values)) == []
    assert check.differences(answer, check.emitted([])) != []
    twice = check.emitted([*values, values[0]])
    assert "emitted twice" in check.differences(answer, twice)[0]
    assert "1 rows missing" in check.differences(answer, check.emitted(values[1:]))[0]
    stranger = answer.with_columns(window_start=pl.col("window_start") + WINDOW_MS).head(1)
    found = check.differences(answer, pl.concat([answer, stranger]))
    assert "not in the answer" in found[0]
    for column, factor in (("amount", 1 + 1e-6), ("largest", 1 + 1e-12), ("events", 2)):
        wrong = answer.with_columns((pl.col(column) * factor).cast(answer.schema[column]))
        assert "wrong values" in check.differences(answer, wrong)[0]
    almost = answer.with_columns(pl.col("amount") * (1 + 1e-11))
    assert check.differences(answer, almost) == []


def test_the_main_job_s_table_gives_the_one_shot_answer() -> None:
    from app.testing import Driver
    from benchmarks import main_job
    from benchmarks.main_job.events import MainJobTotal
    from benchmarks.worker_app import TOPIC

    everything = pl.concat([*SMALL.chunks(), SMALL.closing()])
    with Driver.of(main_job.app, partitions=SMALL.partitions) as driver:
        for value, user, partition in zip(
            encode(everything), everything["user"], everything["partition"], strict=True
        ):
            driver.send_raw(TOPIC, value, key=user.encode(), partition=partition)
        found = [msgspec.json.encode(item) for item in driver.emitted(MainJobTotal)]
    assert check.differences(SMALL.totals(), check.emitted(found)) == []


def test_the_pass_through_job_passes_everything_on() -> None:
    from app.testing import Driver
    from benchmarks import pass_through
    from benchmarks.pass_through.events import PassedOn
    from benchmarks.worker_app import TOPIC

    values = encode(SMALL.closing())
    with Driver.of(pass_through.app) as driver:
        for value in values:
            driver.send_raw(TOPIC, value)
        found = [msgspec.to_builtins(item) for item in driver.emitted(PassedOn)]
    assert found == [msgspec.json.decode(value) for value in values]


# -- latency -----------------------------------------------------------------------------------


def test_stamped_events_are_whole() -> None:
    pool = Pool(100)
    pool.stamped("t", 0, 100, 1_790_000_000_001)
    records = pool.stamped("t", 10, 5, 1_790_000_000_002)
    values = [msgspec.json.decode(value or b"") for value in records.value.to_list()]
    assert (
        [value["time"] for value in values] == records.timestamp.tolist() == [1_790_000_000_002] * 5
    )
    assert [value["user"].encode() for value in values] == records.key.to_list()
    assert [value["id"].encode() for value in values] == records.id.to_list()
    expected = msgspec.json.decode(encode(next(Workload(100).chunks()))[10])
    assert values[0] == {**expected, "time": 1_790_000_000_002}


def test_one_event_in_a_hundred_is_sampled_after_the_warm_up() -> None:
    ages = Ages(warm_up_events=1_000)
    for size in (1, 99, 250, 2_650, 0, 7):
        ages.add(size, lambda _: b'{"id":"x","time":40}', now_ms=100)
    assert ages.seen == 3_007
    assert ages.ages_ms == {60: (3_000 - 1_000) // SAMPLE_EVERY + 1}


def test_percentiles() -> None:
    ages_ms = [(10, 50), (20, 49), (900, 1)]
    assert [latency.percentile(ages_ms, share) for share in (0.5, 0.99, 0.999)] == [10, 20, 900]


# -- children ----------------------------------------------------------------------------------


def test_a_child_reports_and_is_ended(tmp_path: Path) -> None:
    code = "from benchmarks.meter import report; report(a=1); import time; time.sleep(60)"
    with Child(["-c", code], {}, tmp_path / "sleeper.log") as child:
        assert next(child.reports(30)) == {"a": 1}
        assert child.peak_memory_mb() > 1
        pid = child.pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_s_last_words_are_in_the_error(tmp_path: Path) -> None:
    with (
        Child(["-c", "raise SystemExit('no luck today')"], {}, tmp_path / "failing.log") as child,
        pytest.raises(ChildError, match=r"(?s)failing ended with exit code 1.*no luck today"),
    ):
        list(child.reports(30))


def test_a_rate_can_be_made_of_any_time_on_the_processor() -> None:
    used = cpu_seconds(os.getpid())
    assert cpu_seconds(os.getpid(), since=used + 1) == CPU_TICK_S


def test_the_meter_measures_from_the_first_event_to_the_last(tmp_path: Path) -> None:
    code = (
        "import time; from benchmarks.meter import Meter; meter = Meter(3); time.sleep(0.3)\n"
        "while True: meter.start(); time.sleep(0.01); meter.count()"
    )
    with Child(["-c", code], {}, tmp_path / "metered.log") as child:
        *_, facts = child.reports(30)
    assert facts["events"] == 3
    assert 0.03 <= facts["seconds"] < 0.3
    assert facts["peak_memory_mb"] > 1


def test_a_stall_is_noticed() -> None:
    now = iter([0.0, 1.0, 5.0, 9.0, 20.0])
    stall = Stall("the job", 10, clock=lambda: next(now))
    for done in (0, 0, 5):
        stall.at(done)
    with pytest.raises(ChildError, match="the job has not moved on from 5 events for 10 s"):
        stall.at(5)


def test_the_longest_standstill_is_that_of_the_partitions_asked_for() -> None:
    now = iter([10.0, 11.0, 14.0, 20.0])
    still = Standstill(clock=lambda: next(now))
    for offsets in ([5, 7, 0], [6, 7, 0], [7, 8, 0], [8, 8, 0]):
        still.see(offsets)
    assert still.longest_s({0}) == 6.0, "seen to move at 14 and 20"
    assert still.longest_s({1}) == 6.0, "it has not got further since 14"
    assert still.longest_s({0, 2}) == 10.0


def test_the_worker_s_metrics_are_understood() -> None:
    from app.monitoring import metrics

    text = metrics.render()
    found = scrape.facts(text if isinstance(text, str) else text.decode())
    assert found.keys() == {"checkpoints", "checkpoint_ms_mean", "fallback_events"}


def test_the_state_alone_closes_all_windows_but_the_last() -> None:
    found = run(replace(CASES[0], checkpoints=3, rows=200))
    assert 3 * 590 < found.closed <= 3 * 600, "nearly all of 250,000 keys differ"
    assert found.sent > found.closed


# -- all of them -------------------------------------------------------------------------------


@pytest.mark.kafka
def test_everything_at_its_tiniest(broker: str, tmp_path: Path) -> None:
    # pytest-benchmark measures nothing for a worker of pytest-xdist
    outside = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--scale", "tiny", "--output", str(tmp_path)],
        cwd=ROOT,
        env={**outside, "HEADRACE_BROKER": broker, "HEADRACE_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "latest.json").read_text())
    assert found["correct"] is True
    assert found["latency"]["p99_ms"] > 0
    for name in ("main_job", "stock_faust", "quix"):
        assert found[name]["events_per_second"] > 0
    assert found["high_cardinality"]["one_core_events_per_second"] > 0
    for change in ("stayed", "join", "leave"):
        assert found["failover"][f"{change}_stood_still_s"] > 0
    assert (tmp_path / "report.html").read_text().count("<svg") == 4
    assert list((tmp_path / "data" / "bench").iterdir()) == []

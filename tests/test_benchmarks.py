"""The benchmarks must never rot: their parts without a broker, then all of them at their tiniest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from benchmarks import check, events, latency, results, runner, scrape, targets
from benchmarks.child import ROOT, Child, ChildError
from benchmarks.events import FIELDS, WINDOW_MS, Workload, encode
from benchmarks.latency_consumer import SAMPLE_EVERY, Ages
from benchmarks.latency_producer import Pool
from benchmarks.report import rate_points, render
from benchmarks.scale import SCALES
from benchmarks.stall import Stall

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


def test_the_worker_s_metrics_are_understood() -> None:
    from app.monitoring import metrics

    text = metrics.render()
    found = scrape.facts(text if isinstance(text, str) else text.decode())
    assert found.keys() == {"checkpoints", "checkpoint_ms_mean", "fallback_events"}


# -- results, targets, report ------------------------------------------------------------------


def _storage(rate: float, *, correct: bool = True) -> dict[str, Any]:
    """What pytest-benchmark's JSON holds of a quick run."""
    job = {"events": 10, "seconds": 10 / rate, "cpu_seconds": 1.0, "peak_memory_mb": 500.0}
    main_job = {
        **job,
        "events_per_cpu_second": 10.0,
        "derived_events": 5,
        "checkpoints": 7,
        "checkpoint_ms_mean": 40.0,
        "fallback_events": 0,
        "correct": correct,
        "differences": [] if correct else ["1 rows missing, such as <this & that>"],
        "series": [[0.0, 0, 300.0], [0.3, 4, 400.0], [0.4, 10, 500.0]],
    }
    ages = {"p50_ms": 60, "p90_ms": 90, "p99_ms": 120, "max_ms": 150, "samples": 3}
    rounds = [
        {"benchmark": "main_job", "round": 1, **main_job, "events_per_second": rate},
        {"benchmark": "main_job", "round": 2, **main_job, "events_per_second": rate * 3},
        {"benchmark": "stock_faust", "round": 1, **job, "events_per_second": 2_000.0},
        {"benchmark": "quix", "round": 1, **job, "events_per_second": 20_000.0},
        {
            "benchmark": "latency",
            "round": 1,
            **ages,
            "events": 300,
            "seconds": 3.0,
            "events_per_second": 100.0,
            "ages_ms": [[60, 2], [120, 1]],
        },
    ]
    return {
        "benchmarks": [{"extra_info": found} for found in rounds],
        "datetime": "2026-01-02T03:04:05",
        "commit_info": {"id": "0123456789abcdef"},
        "machine_info": {"python_version": "3.11.7", "cpu": {"brand_raw": "a processor"}},
    }


def test_results_have_the_promised_names() -> None:
    found = results.summarise(_storage(1_000_000.0), "quick")
    assert found["correct"] is True
    assert found["main_job"]["events_per_second"] == 2_000_000.0  # the median of two rounds
    assert found["main_job"]["peak_memory_mb"] == 500.0
    assert found["main_job"]["times_stock_faust"] == 1_000.0
    assert found["main_job"]["times_quix"] == 100.0
    assert found["stock_faust"]["events_per_second"] == 2_000.0
    assert found["quix"]["events_per_second"] == 20_000.0
    assert (found["latency"]["p50_ms"], found["latency"]["p99_ms"]) == (60, 120)
    json.dumps(found)


def test_how_many_times_as_fast_as_before() -> None:
    storage = _storage(1_000_000.0)
    before = {**storage["benchmarks"][0]["extra_info"], "benchmark": "main_job_former"}
    storage["benchmarks"].append({"extra_info": before})
    assert results.summarise(storage, "quick")["main_job"]["times_former"] == 2.0


def test_correct_needs_every_round_of_the_main_job() -> None:
    storage = _storage(1_000_000.0)
    assert not results.summarise(_storage(1_000_000.0, correct=False), "quick")["correct"]
    del storage["benchmarks"][0]
    assert not results.summarise(storage, "quick")["correct"]
    del storage["benchmarks"][0]
    assert not results.summarise(storage, "quick")["correct"]


def test_the_targets_name_figures_that_exist() -> None:
    found = results.summarise(_storage(1_000_000.0), "quick")
    verdicts = targets.judge(targets.load_targets(), found)
    assert {verdict.target.name: verdict.target.limit for verdict in verdicts} == {
        "main_job.events_per_second": 1_200_000,
        "main_job.peak_memory_mb": 700,
        "main_job.times_stock_faust": 300,
        "main_job.times_quix": 35,
        "main_job.times_former": 0.97,
        "latency.p99_ms": 250,
        "high_cardinality.events_per_second": 800_000,
        "high_cardinality.peak_memory_mb": 1_000,
        "unwindowed.events_per_second": 400_000,
        "unwindowed.peak_memory_mb": 1_500,
        "unwindowed.last_fifth_to_first": 0.8,
        "point_reads.p99_ms": 20,
        "scale_out.times_less_broker": 1.7,
        "restore.keys_per_second": 3_000_000,
        "restore.peak_memory_mb": 1_000,
        "failover.takeover_s": 3,
        "failover.stayed_stood_still_s": 2,
    }
    assert [verdict.met for verdict in verdicts][:6] == [True, True, True, True, None, True]
    slow = targets.judge(targets.load_targets(), results.summarise(_storage(1_000.0), "quick"))
    assert [verdict.met for verdict in slow][:6] == [False, True, False, False, None, True]
    assert all(verdict.met is None for verdict in targets.judge(targets.load_targets(), {}))


@pytest.mark.parametrize("text", ["[a]\nspeed = 3", '[a]\nspeed_min = "3"', "[a]\nspeed_min ="])
def test_a_target_that_cannot_be_judged_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(text)
    with pytest.raises(targets.TargetsError, match=r"targets\.toml"):
        targets.load_targets(path)


@pytest.mark.parametrize("rate", [1_000_000.0, 1_000.0])
def test_the_report_is_one_file_and_says_what_is_missed(rate: float) -> None:
    found = results.summarise(_storage(rate), "quick")
    page = render(found, targets.judge(targets.load_targets(), found))
    assert ("Missed: main_job.events_per_second" in page) == (
        rate < 600_000
    )  # two rounds: the median is twice that
    assert "The results are correct" in page
    assert page.count("<svg") == page.count("</svg>") == 4
    assert "prefers-color-scheme: dark" in page
    for outside in ("<script", "src=", "href=", "url(", "@import"):
        assert outside not in page


def test_the_report_says_what_is_wrong_and_renders_every_part_alone() -> None:
    everything = targets.load_targets()
    wrong = results.summarise(_storage(1_000_000.0, correct=False), "quick")
    page = render(wrong, targets.judge(everything, wrong))
    assert "NOT shown to be correct" in page
    assert "such as &lt;this &amp; that&gt;" in page
    for item in _storage(1_000_000.0)["benchmarks"]:
        alone = results.summarise({**_storage(1.0), "benchmarks": [item]}, "full")
        assert "not measured" in render(alone, targets.judge(everything, alone))


def test_rates_are_stairs_over_the_samples() -> None:
    series = [[0.0, 0, 1.0], [0.3, 300, 1.0], [0.4, 500, 1.0]]
    assert rate_points(series) == [
        (0.0, pytest.approx(1_000)),
        (0.3, pytest.approx(1_000)),
        (0.3, pytest.approx(2_000)),
        (0.4, pytest.approx(2_000)),
    ]


# -- the runner --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "rate", "correct", "failed", "code"),
    [
        ([], 1_000_000.0, True, False, 0),
        ([], 1_000.0, True, False, 1),
        ([], 1_000_000.0, False, False, 1),
        ([], 1_000_000.0, True, True, 1),
        (["--quick"], 1_000.0, True, False, 0),
        (["--quick"], 1_000_000.0, False, False, 1),
        (["--quick", "--only", "quix"], 1_000.0, False, False, 0),
    ],
)
def test_the_exit_code(
    arguments: list[str], rate: float, correct: bool, failed: bool, code: int
) -> None:
    options = runner._parse(arguments)
    found = results.summarise(_storage(rate, correct=correct), "quick")
    verdicts = targets.judge(targets.load_targets(), found)
    assert runner.exit_code(found, verdicts, options, failed=failed) == code


def test_every_scale_knows_every_benchmark() -> None:
    for name, scale in SCALES.items():
        assert list(scale.rounds) == list(SCALES["full"].rounds)
        measured = {
            here: rounds for here, rounds in scale.rounds.items() if here != "main_job_former"
        }
        assert min(measured.values()) >= (0 if name == "quick" else 1)


def test_a_revision_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert runner.checked_out("no-such-revision", tmp_path / "former")


@pytest.mark.parametrize(("against", "times"), [([], 0), (["--against=."], 1)])
def test_the_former_main_job_is_measured_if_there_is_one(against: list[str], times: int) -> None:
    command = ["-m", "pytest", "benchmarks", "--collect-only", "-q", "--scale=tiny", *against]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("::test_main_job_former[") == times
    assert done.stdout.count("::test_main_job[") == 1


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
    assert (tmp_path / "report.html").read_text().count("<svg") == 4
    assert list((tmp_path / "data" / "bench").iterdir()) == []

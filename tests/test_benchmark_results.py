"""What becomes of the benchmarks' figures: results, verdicts, a report and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import results, runner, targets
from benchmarks.child import ROOT
from benchmarks.meter import stolen_percent
from benchmarks.report import NAMES, TITLES, rate_points, render
from benchmarks.scale import SCALES


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
        "failover.join_stood_still_s": 2,
        "failover.leave_stood_still_s": 2,
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


def test_the_report_has_a_section_for_every_other_benchmark() -> None:
    facts = {
        "high_cardinality": {"events_per_second": 870_000.0},
        "unwindowed": {"last_fifth_to_first": 0.95, "rows": 10_000_000},
        "point_reads": {"reads_per_second": 5_000.0, "p99_ms": 12, "found": 0.5},
        "scale_out": {"times": 1.6, "times_less_broker": 1.86, "broker_cpu_seconds": 0.87},
        "restore": {"keys_per_second": 2_440_000.0},
        "failover": {"takeover_s": 0.28, "takeover_s_without_standby": 0.47},
    }
    rounds = [{"benchmark": name, "round": 1, **figures} for name, figures in facts.items()]
    storage = {**_storage(1.0), "benchmarks": [{"extra_info": found} for found in rounds]}
    page = render(results.summarise(storage, "full"), [])
    for row in (
        "<td>throughput</td><td>870,000 events/s</td>",
        "<td>rate of the last fifth of the events against the first</td><td>0.95 times</td>",
        "<td>rows in the end</td><td>10,000,000</td>",
        "<td>p99</td><td>12 ms</td>",
        "<td>two workers against one, as it is</td><td>1.6 times</td>",
        "<td>the same less the broker's share of the cores</td><td>1.86 times</td>",
        "<td>processor time of the broker beside two workers</td><td>0.87 s</td>",
        "<td>restored</td><td>2,440,000 keys/s</td>",
        "<td>the same without a standby</td><td>0.47 s</td>",
    ):
        assert row in page
    elsewhere = {*NAMES, "latency", "main_job_former"}
    assert TITLES.keys() == facts.keys() == SCALES["full"].rounds.keys() - elsewhere


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


def test_what_the_host_withholds() -> None:
    before = psutil.cpu_times()
    after = before._replace(
        user=before.user + 5,
        steal=before.steal + 2,
        idle=before.idle + 40,
        iowait=before.iowait + 9,
    )
    after = after._replace(system=before.system + 1, guest=before.guest + 5)
    assert stolen_percent(before, after) == pytest.approx(25.0)
    assert stolen_percent(before, before) == 0.0

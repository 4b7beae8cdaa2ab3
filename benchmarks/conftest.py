"""Lays the benchmarks out as pytest-benchmark tests: one round each, rounds alternating."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.meter import stolen_percent
from benchmarks.scale import SCALES
from benchmarks.stopwatch import stopwatch
from benchmarks.workbench import Workbench, open_workbench

INTERRUPTED = 130  # exit code after Ctrl-C, as of shells
Measurement = Callable[[Workbench], dict[str, Any]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--scale`: how large the benchmarks are. `--against`: the files of another revision."""
    parser.addoption("--scale", choices=sorted(SCALES), default="full", help="size of the runs")
    parser.addoption("--against", type=Path, help="folder with the files of another revision")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """As many rounds of each benchmark as its scale says."""
    if "measure" in metafunc.fixturenames:
        rounds = dict(SCALES[metafunc.config.getoption("scale")].rounds)
        if metafunc.config.getoption("against"):
            rounds["main_job_former"] = rounds["main_job"]
        numbers = range(1, rounds[_name(metafunc.function)] + 1)
        metafunc.parametrize("round_number", numbers, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Alternate: the first round of everything, then the second, and so on. What has no round is left out."""
    items[:] = [item for item in items if isinstance(item.callspec.params["round_number"], int)]
    order = list(SCALES["full"].rounds)
    items.sort(
        key=lambda item: (item.callspec.params["round_number"], order.index(_name(item.function)))
    )


def _name(function: Callable[..., object]) -> str:
    return function.__name__.removeprefix("test_")


@pytest.fixture
def round_number(request: pytest.FixtureRequest) -> int:
    """From 1."""
    return int(request.param)


@pytest.fixture
def against(request: pytest.FixtureRequest) -> Path:
    """The folder of the other revision."""
    folder: Path = request.config.getoption("against")
    return folder


@pytest.fixture(scope="session")
def workbench(request: pytest.FixtureRequest) -> Iterator[Workbench]:
    """Broker, topic and child processes for all benchmarks of the run."""
    with open_workbench(SCALES[request.config.getoption("scale")]) as bench:
        yield bench
        bench.keep_folder = request.session.testsfailed > 0


@pytest.fixture
def measure(
    benchmark: Any, workbench: Workbench, round_number: int
) -> Callable[[str, Measurement], dict[str, Any]]:
    """Runs a measurement once; its facts go to pytest-benchmark's storage as extra_info."""

    def run(name: str, measurement: Measurement) -> dict[str, Any]:
        def timed() -> dict[str, Any]:
            before = psutil.cpu_times()
            try:
                facts = measurement(workbench)
            except KeyboardInterrupt:  # pytest-benchmark expects an Exception
                pytest.exit("interrupted", INTERRUPTED)
            stopwatch.advance(facts["seconds"])
            return {**facts, "stolen_percent": stolen_percent(before, psutil.cpu_times())}

        facts = benchmark.pedantic(timed, rounds=1, iterations=1)
        if name == "main_job":
            workbench.main_job_rate = facts["events_per_second"]
        benchmark.extra_info.update(facts, benchmark=name, round=round_number)
        workbench.tidy()
        return facts

    return run

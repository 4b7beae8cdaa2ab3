"""What all tests share: the embedded broker, fresh topic names, Chromium, coroutine tests, seeds told at the end."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import shutil
import uuid
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.kafka.running_job", "tests.kafka.sales", "tests.faults.group")

from app.kafka.embedded.broker import Broker  # noqa: E402 - after it is said what to rewrite
from tests.own_broker import own_broker  # noqa: E402
from tests.seeds import taken_seeds  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "no Chromium on PATH; get it with: apt install chromium (or .ci/run)"

# A failing example is printed with the line that repeats it; a busy machine's clock is no test.
settings.register_profile(
    "headrace",
    print_blob=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("headrace"), max_examples=100)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "headrace")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--faults`, which `./run test` hands on."""
    parser.addoption(
        "--faults", action="store_true", help="run the tests of faults in their full form"
    )


@pytest.fixture
def full_faults(request: pytest.FixtureRequest) -> bool:
    """Whether the faults come in their full form, which takes minutes."""
    return bool(request.config.getoption("--faults"))


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """An embedded broker with its data in the session's temporary folder."""
    with own_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture(scope="session")
def broker(embedded_broker: Broker) -> str:
    """The bootstrap servers of the session's broker."""
    return embedded_broker.bootstrap_servers


@pytest.fixture
def topic_name() -> Callable[..., str]:
    """Makes topic names that no other test has: `topic_name()`, `topic_name("orders")`."""
    numbers = itertools.count()
    suffix = uuid.uuid4().hex[:8]
    return lambda prefix="topic": f"{prefix}-{suffix}-{next(numbers)}"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser; without one the test is skipped, or fails where CI=true."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(NO_BROWSER)
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Browser tests ask for the browser even when their own signature does not.

    Where several processes share the tests, those on a broker come first: they are long, and one alone at the
    end would leave the other processes without work.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("kafka") is None)
    for item in items:
        if item.get_closest_marker("browser") and "chromium" not in item.fixturenames:
            item.fixturenames.insert(0, "chromium")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """The report says which seeds the test has drawn, also to the process that shares the tests out."""
    item.user_properties += [("seed", seed) for seed in taken_seeds()]
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the seed of each test that has drawn one, whatever became of it."""
    lines = sorted(
        f"{report.nodeid}: {seed}"
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, seed in report.user_properties
        if name == "seed"
    )
    if lines:
        terminalreporter.section("seeds, which TEST_SEED gives again")
        terminalreporter.write_line("\n".join(lines))

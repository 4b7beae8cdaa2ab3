"""Settings have defaults, limits and docs; a wrong one is one line that says what is allowed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import ROOT, Settings, SettingsError, document, load_settings, variable

UNITS = ("_ms", "_kb", "_mb", "_ms_max", "_kb_max", "_mb_max", "_rows_max")
# Whole numbers that count what their name says, or name a place.
COUNTS = {
    "agent_attempts_max",
    "web_live_views_max",
    "json_depth_max",
    "polars_threads",
    "segments_per_window_max",
    "standby_replicas",
    "topic_partitions",
    "topic_replication",
    "web_port",
}
NUMBERS = [name for name, field in Settings.model_fields.items() if field.annotation is int]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.upper().startswith("HEADRACE_"):
            monkeypatch.delenv(name)
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def bounds(name: str) -> tuple[int, int]:
    metadata = Settings.model_fields[name].metadata
    lowest = next(item.ge for item in metadata if hasattr(item, "ge"))
    highest = next(item.le for item in metadata if hasattr(item, "le"))
    return lowest, highest


def error_of(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_defaults_are_valid_and_cached() -> None:
    settings = load_settings()
    assert settings.checkpoint_interval_ms == 100
    assert settings.broker == ""
    assert settings.data_dir == ROOT / ".headrace"
    assert load_settings() is settings


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load_settings().web_port = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_is_described(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description and description.rstrip().endswith(".")


@pytest.mark.parametrize("name", NUMBERS)
def test_each_number_has_its_unit_in_its_name(name: str) -> None:
    assert name.endswith(UNITS) or name in COUNTS


@pytest.mark.parametrize("name", NUMBERS)
def test_each_number_has_limits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lowest, highest = bounds(name)
    for value in (str(lowest - 1), str(highest + 1), "many", "1.5"):
        expected = (
            f"{variable(name)} is {value!r}, allowed is a whole number from {lowest} to {highest}"
        )
        load_settings.cache_clear()
        assert error_of(monkeypatch, **{variable(name): value}) == expected


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("HEADRACE_LOG_FORMAT", "xml", "auto or console or json"),
        ("HEADRACE_READ_FROM", "middle", "earliest or latest"),
        ("HEADRACE_CHECK_CRC", "maybe", "true or false"),
        ("HEADRACE_APP_ID", "a b", "up to 64 letters, digits, ., _ and -"),
        ("HEADRACE_WORKER_ID", "../x", "up to 64 letters, digits, ., _ and -, or empty"),
        ("HEADRACE_WEB_HOST", "http://x", "a host name or an IP address"),
    ],
)
def test_a_wrong_choice_says_what_is_allowed(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert error_of(monkeypatch, **{name: value}) == f"{name} is {value!r}, allowed is {allowed}"


def test_choices_may_be_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_LOG_LEVEL", "WARNING")
    assert load_settings().log_level == "warning"


@pytest.mark.parametrize(
    "value", ["localhost", "a:b", "a:0", "a:65536", "a:1,,b:2", "kafka://a:1", "a b:1", ":9092"]
)
def test_a_broker_needs_host_and_port(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    message = error_of(monkeypatch, HEADRACE_BROKER=value)
    assert message.startswith(f"HEADRACE_BROKER is {value!r}, allowed is host:port,host:port")


@pytest.mark.parametrize(
    ("value", "broker"),
    [
        ("a.example:9092", "a.example:9092"),
        (" a:1 , b:2 ", "a:1,b:2"),
        ("[::1]:9092", "[::1]:9092"),
        ("", ""),
        ("  ", ""),
    ],
)
def test_brokers(value: str, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_BROKER", value)
    assert load_settings().broker == broker


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"HEADRACE_HEARTBEAT_INTERVAL_MS": "2001"},
            "HEADRACE_HEARTBEAT_INTERVAL_MS is '2001', "
            "allowed is at most a third of HEADRACE_SESSION_TIMEOUT_MS (6000)",
        ),
        (
            {"HEADRACE_FETCH_BUFFER_MB": "4", "HEADRACE_FETCH_PARTITION_KB_MAX": "2049"},
            "HEADRACE_FETCH_PARTITION_KB_MAX is '2049', "
            "allowed is at most half of HEADRACE_FETCH_BUFFER_MB (4096 kB)",
        ),
        (
            {"HEADRACE_CHECKPOINT_INTERVAL_MS": "15000"},
            "HEADRACE_TRANSACTION_TIMEOUT_MS is '15000', "
            "allowed is above HEADRACE_CHECKPOINT_INTERVAL_MS (15000)",
        ),
        (
            {"HEADRACE_WATCHDOG_STALL_MS_MAX": "15000"},
            "HEADRACE_WATCHDOG_STALL_MS_MAX is '15000', "
            "allowed is above HEADRACE_TRANSACTION_TIMEOUT_MS (15000)",
        ),
        (
            {"HEADRACE_TOPIC_REPLICATION": "3"},
            "HEADRACE_TOPIC_REPLICATION is '3', allowed is 1 with the embedded broker",
        ),
    ],
)
def test_settings_must_fit_together(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert error_of(monkeypatch, **variables) == message


def test_a_cluster_may_replicate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_BROKER", "a:9092")
    monkeypatch.setenv("HEADRACE_TOPIC_REPLICATION", "3")
    assert load_settings().topic_replication == 3


def test_several_wrong_settings_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    message = error_of(monkeypatch, HEADRACE_WEB_PORT="0", HEADRACE_CHECK_CRC="x")
    assert "HEADRACE_WEB_PORT is '0'" in message
    assert "HEADRACE_CHECK_CRC is 'x'" in message


def test_a_long_value_with_line_breaks_stays_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(error_of(monkeypatch, HEADRACE_WEB_PORT="1\n2" * 1000)) < 200


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("HEADRACE_CHECKPOINT_INTERVAL", "did you mean HEADRACE_CHECKPOINT_INTERVAL_MS?"),
        ("HEADRACE_ROKSDB_BLOCK_CACHE_MB", "did you mean HEADRACE_ROCKSDB_BLOCK_CACHE_MB?"),
        ("HEADRACE_CHEKPOINT", "did you mean HEADRACE_CHECKPOINT_INTERVAL_MS?"),
        ("HEADRACE_QQQQQQQQQQQQQQQQQQQQQQQ", "docs/settings.md lists them all"),
    ],
)
def test_an_unknown_variable_is_an_error(
    name: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = f"{name} is '5', but there is no such setting; {remedy}"
    assert error_of(monkeypatch, **{name: "5"}) == expected


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEADRACE_PYTHON", "HEADRACE_FAULT_COMMIT", "HEADRACEX"):
        monkeypatch.setenv(name, "anything")
    assert load_settings().web_port == 6066


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_WEB_PORT", "")
    assert load_settings().web_port == 6066


@pytest.mark.parametrize(("value", "path"), [("x/y", ROOT / "x/y"), ("/x/y", Path("/x/y"))])
def test_a_relative_data_directory_starts_at_the_project(
    value: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DATA_DIR", value)
    assert load_settings().data_dir == path


def test_the_docs_are_current() -> None:
    assert (ROOT / "docs/settings.md").read_text() == document(), (
        "write them anew: python -m app.settings > docs/settings.md"
    )


def test_the_module_prints_the_docs() -> None:
    command = [sys.executable, "-m", "app.settings"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == document()

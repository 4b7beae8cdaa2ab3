"""Every setting of Headrace, read from `HEADRACE_*` environment variables and from nowhere else.

Names carry their unit last: `_ms` milliseconds, `_kb` 1024 bytes, `_mb` 1024 kB; `_max` is a limit.
`python -m app.settings` prints `docs/settings.md`.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "HEADRACE_"
# Read by `run` before there is a Python, and by the fault injection of the tests.
NOT_SETTINGS = re.compile(r"HEADRACE_(PYTHON|FAULT_\w+)")
ROOT = Path(__file__).resolve().parents[1]
VALUE_CHARACTERS_SHOWN_MAX = 80
_LIKE = 0.8


class SettingsError(Exception):
    """A setting is wrong. The message is one line: variable, value, and what is allowed."""


@dataclass(frozen=True)
class Allowed:
    """What a text setting may be, in words; numbers and choices say it themselves."""

    words: str


Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64),
    Allowed("up to 64 letters, digits, `.`, `_` and `-`"),
]
OptionalName = Annotated[
    str,
    Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=64),
    Allowed("up to 64 letters, digits, `.`, `_` and `-`, or empty"),
]
Servers = Annotated[str, Allowed("`host:port,host:port,...`, or empty for the embedded broker")]
Host = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9._:%-]+$"), Allowed("a host name or an IP address")
]
Folder = Annotated[Path, Allowed("a path; a relative one starts at the project's folder")]


class Settings(BaseSettings):
    """The settings, checked; `load_settings` is how to get them. The docs are made from this."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    broker: Servers = ""
    """The Kafka cluster. Empty: Headrace starts a Kafka of one node itself, not for production."""
    data_dir: Folder = Path(".headrace")
    """Where the state of the tables and the embedded broker keep their files."""
    app_id: Name = "headrace"
    """Names the consumer group, internal topics and transactions. Workers of the same one share
    the work; a new one starts from nothing."""
    worker_id: OptionalName = ""
    """Names this worker within the group; no two may share it at a time. Empty: the first that
    is free in the data directory."""
    read_from: Literal["earliest", "latest"] = "earliest"
    """Where to begin on a partition of which nothing is committed yet."""

    topic_partitions: Annotated[int, Field(ge=1, le=1024)] = 4
    """Partitions of the topics that Headrace makes."""
    topic_replication: Annotated[int, Field(ge=1, le=9)] = 1
    """Copies of each topic that Headrace makes: 3 in production; the embedded broker takes only
    1."""
    session_timeout_ms: Annotated[int, Field(ge=1000, le=300_000)] = 6000
    """A worker that the group has not heard of for this long loses its partitions. A cluster
    refuses less than its `group.min.session.timeout.ms`, by default 6000."""
    heartbeat_interval_ms: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """How often a worker tells the group that it lives; at most a third of
    `HEADRACE_SESSION_TIMEOUT_MS`."""
    standby_replicas: Annotated[int, Field(ge=0, le=8)] = 1
    """How many other workers keep a copy of each partition of the tables close to its end, to take
    it over within a moment. Each copy takes the disk of the partition again, and its changelog's
    traffic. With one worker there are none."""
    leave_on_stop: bool = False
    """A worker that is stopped leaves the group, and the others go on with its partitions at
    once. Otherwise they wait for it for the session timeout, so that a restart moves nothing."""

    fetch_buffer_mb: Annotated[int, Field(ge=4, le=16_384)] = 48
    """Bytes fetched and not yet processed, of all partitions; reading pauses above it, or at 64 fetches."""
    fetch_partition_kb_max: Annotated[int, Field(ge=64, le=65_536)] = 2048
    """Bytes of one fetch of a partition; at most half of `HEADRACE_FETCH_BUFFER_MB`."""
    fetch_wait_ms_max: Annotated[int, Field(ge=1, le=5000)] = 50
    """How long the broker may hold a fetch back while there is little to read. Larger: fewer
    and larger batches, so less CPU; more latency."""
    check_crc: bool = True
    """Verify the checksum of every record batch that is read."""
    event_kb_max: Annotated[int, Field(ge=1, le=896)] = 256
    """Longer events go to the dead letters."""
    json_depth_max: Annotated[int, Field(ge=1, le=512)] = 64
    """Events nested deeper go to the dead letters."""
    agent_attempts_max: Annotated[int, Field(ge=1, le=100)] = 3
    """How often an agent is tried on an event it fails on, before the event goes to the dead
    letters."""
    dead_letter_traceback_kb_max: Annotated[int, Field(ge=0, le=64)] = 8
    """Longer tracebacks in dead letters are cut, the end is kept."""
    idle_partition_ms: Annotated[int, Field(ge=100, le=86_400_000)] = 5000
    """A source partition without events for this long (wall clock) no longer holds the
    watermark back."""

    checkpoint_interval_ms: Annotated[int, Field(ge=10, le=60_000)] = 100
    """Time between two checkpoints. Larger: fewer transactions, later results."""
    checkpoint_delta_mb_max: Annotated[int, Field(ge=1, le=4096)] = 48
    """A checkpoint is made early when what it would publish grows to this."""
    checkpoint_merge_mb_max: Annotated[int, Field(ge=4, le=4096)] = 32
    """A checkpoint reads at most this much state to merge it and to close windows, or some four times
    what it adds, if that is more; the rest is left to the next one. Larger: more memory, longer checkpoints."""
    transaction_timeout_ms: Annotated[int, Field(ge=1000, le=900_000)] = 15_000
    """Kafka aborts a checkpoint's transaction after this; above
    `HEADRACE_CHECKPOINT_INTERVAL_MS`."""
    segment_kb_max: Annotated[int, Field(ge=16, le=960)] = 512
    """State is cut into segments of this size; Kafka's limit for one message is 1024 kB."""
    segments_per_window_max: Annotated[int, Field(ge=2, le=64)] = 16
    """That many segments of one size and window are merged into one. Larger: less writing,
    slower reading."""
    read_cache_mb: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Memory for the parts of tables that were read last by key, by code or by the pages; and as much
    again for rows of small tables, ready to be read by key."""
    rocksdb_block_cache_mb: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Memory in which RocksDB keeps what it has read."""
    rocksdb_write_buffer_mb: Annotated[int, Field(ge=1, le=4096)] = 16
    """Memory in which RocksDB collects what it writes."""
    polars_threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of Polars in one worker. More workers scale better than more threads."""

    web_enabled: bool = True
    """Serve the pages, the JSON and `/metrics`."""
    web_host: Host = "127.0.0.1"
    """The address the web server listens on. It has no log-in: beyond loopback, put one in
    front."""
    web_port: Annotated[int, Field(ge=1, le=65_535)] = 6066
    """The web server's port; when it is taken, the next free one."""
    web_advertised_host: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9._:%-]*$"),
        Allowed("a host name or an IP address, or empty"),
    ] = ""
    """Where other workers of the group reach this one's web server, to read its part of the tables.
    Empty: at `HEADRACE_WEB_HOST`; when that is `0.0.0.0` or `::`, at the machine's name."""
    peer_timeout_ms: Annotated[int, Field(ge=100, le=300_000)] = 5000
    """A worker that is asked for its part of a table and is silent for this long counts as
    away."""
    web_page_rows_max: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Rows of a table that one page or JSON answer shows."""
    web_view_rows_max: Annotated[int, Field(ge=1000, le=100_000_000)] = 1_000_000
    """Rows of a table that a page looks at, to filter and sort them; of what has more it shows a
    part. Larger: more memory while somebody looks."""
    web_live_views_max: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Pages and streams that are kept up to date at a time; further ones are refused."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """`console` for people, `json` for machines (one object a line); `auto`: console on a
    terminal, else JSON."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lines below this level are not logged."""
    watchdog_stall_ms_max: Annotated[int, Field(ge=1000, le=3_600_000)] = 60_000
    """A worker that has work, events or a take-over, and makes no progress for this long, or that hears
    nothing of a partition, ends with exit code 70, to be started anew; time in which the cluster does
    not answer does not count. Above `HEADRACE_TRANSACTION_TIMEOUT_MS`."""

    @field_validator("read_from", "log_format", "log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("broker")
    @classmethod
    def _servers(cls, value: str) -> str:
        servers = [server.strip() for server in value.split(",")] if value.strip() else []
        for server in servers:
            match = re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", server)
            if match is None or not 0 < int(match[2]) < 65_536:
                raise ValueError(f"{server!r} is not host:port")
        return ",".join(servers)

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return ROOT / value

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        if self.topic_replication > 1 and not self.broker:
            raise ValueError(self._wrong("topic_replication", "1 with the embedded broker"))
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            limit = self.session_timeout_ms
            third = f"at most a third of {variable('session_timeout_ms')} ({limit})"
            raise ValueError(self._wrong("heartbeat_interval_ms", third))
        if self.fetch_partition_kb_max * 2 > self.fetch_buffer_mb * 1024:
            limit = self.fetch_buffer_mb * 1024
            half = f"at most half of {variable('fetch_buffer_mb')} ({limit} kB)"
            raise ValueError(self._wrong("fetch_partition_kb_max", half))
        for larger, smaller in (
            ("transaction_timeout_ms", "checkpoint_interval_ms"),
            ("watchdog_stall_ms_max", "transaction_timeout_ms"),
        ):
            limit = getattr(self, smaller)
            if getattr(self, larger) <= limit:
                raise ValueError(self._wrong(larger, f"above {variable(smaller)} ({limit})"))
        return self

    def _wrong(self, field: str, allowed: str) -> str:
        return _wrong(variable(field), getattr(self, field), allowed)


@cache
def load_settings() -> Settings:
    """Read and check `os.environ`, once per process.

    Raises SettingsError when a variable is wrong, or starts with `HEADRACE_` and is no setting.
    """
    unknown = [line for name, value in os.environ.items() for line in _unknown(name, value)]
    if unknown:
        raise SettingsError("; ".join(unknown))
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(error))) from None


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def _unknown(name: str, value: str) -> Iterator[str]:
    known = [variable(field) for field in Settings.model_fields]
    name = name.upper()
    if not name.startswith(PREFIX) or name in known or NOT_SETTINGS.fullmatch(name):
        return
    likeness = [_likeness(name, item) for item in known]
    best = max(likeness)
    near = known[likeness.index(best)]
    remedy = f"did you mean {near}?" if best >= _LIKE else "docs/settings.md lists them all"
    yield f"{name} is {_shown(value)}, but there is no such setting; {remedy}"


def _likeness(name: str, known: str) -> float:
    """0 to 1; a name that is cut short is like the beginning of the whole one."""
    return difflib.SequenceMatcher(None, name, known[: len(name)]).ratio()


def _explain(error: ValidationError) -> Iterator[str]:
    for detail in error.errors():
        if detail["loc"]:
            field = str(detail["loc"][0])
            yield _wrong(variable(field), detail["input"], allowed(Settings.model_fields[field]))
        else:
            yield str(detail["ctx"]["error"])


def _wrong(name: str, value: object, allowed: str) -> str:
    return f"{name} is {_shown(value)}, allowed is {allowed.replace('`', '')}"


def _shown(value: object) -> str:
    text = repr(str(value))
    cut = VALUE_CHARACTERS_SHOWN_MAX
    return text if len(text) <= cut else f"{text[:cut]}...'"


def allowed(field: FieldInfo) -> str:
    """What a field takes, in words; the docs and the errors say the same."""
    for item in field.metadata:
        if isinstance(item, Allowed):
            return item.words
    if field.annotation is bool:
        return "`true` or `false`"
    if get_origin(field.annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(field.annotation))
    lowest = next(item.ge for item in field.metadata if hasattr(item, "ge"))
    highest = next(item.le for item in field.metadata if hasattr(item, "le"))
    return f"a whole number from {lowest} to {highest}"


def document() -> str:
    """The text of `docs/settings.md`."""
    rows = []
    for name, field in Settings.model_fields.items():
        words = " ".join((field.description or "").split())
        rows.append(f"| `{variable(name)}` | {_default(field)} | {allowed(field)} | {words} |")
    return "\n".join([_INTRODUCTION, _HEAD, *rows, ""])


def _default(field: FieldInfo) -> str:
    value = field.default
    return (
        f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"
    )


_INTRODUCTION = """\
# Settings

Every setting is an environment variable. A wrong value, or a variable that starts with `HEADRACE_`
and is not listed here, stops the start with one line that says what is allowed. An empty variable
counts as one that is not set. Names carry their unit last: `_ms` milliseconds, `_kb` 1024 bytes,
`_mb` 1024 kB; `_max` is a limit.

`HEADRACE_PYTHON` is not a setting of the worker but of `./run`: the Python that it sets up.
"""
_HEAD = "| variable | default | allowed | what it is |\n|-|-|-|-|"


if __name__ == "__main__":
    sys.stdout.write(document())

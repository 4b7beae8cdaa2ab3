"""`faust -A app rebuild TABLE`: computes a table anew from its source.

Importing this module registers the command.
"""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, ClassVar

import click
from faust.cli.base import AppCommand, argument, option

from app.codecs.json_columns import warm_up
from app.engine.language.table import Table
from app.engine.processing.sources import sources
from app.engine.state.store import StateRefusedError
from app.events.event import Event
from app.kafka.embedded.broker import BrokerError, ensure_broker
from app.kafka.replays.rebuild import Pace, RebuildError, Rebuilt, TableRebuild
from app.kafka.topics import TopicError, ensure_topics, needs
from app.settings import Settings
from app.state.open_store import open_store
from app.state.slot import SlotError, WorkerSlot

_LINE_INTERVAL_S = 5.0
"""Between two lines where there is no terminal."""
_BAR_INTERVAL_S = 0.2
_BAR_WIDTH = 24


class _Time(click.ParamType):
    name = "TIME"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            time = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time such as 2024-05-31T12:00 or 2024-05-31", param, ctx)
        zoned = time if time.tzinfo else time.replace(tzinfo=UTC)
        return int(zoned.timestamp() * 1000)


class rebuild(AppCommand):  # type: ignore[misc]
    """Compute TABLE anew from its source topic.

    For a table that is defined otherwise than its state, whose state cannot be used, or that is new and shall know
    the past. Stop all workers first, and start them afterwards.

    It counts all events that are still on the topic, or those since --from, up to where the group has read, as the
    table is defined now; the workers go on from there. It emits nothing: windows that the table had closed are
    closed again in silence, the others are emitted by the workers when they close. Late events, dead letters and the
    other tables stay as they are. For a table that agents feed, those agents run, and only what they give to the
    table is kept.

    \b
    faust -A app rebuild revenue_per_minute
    faust -A app rebuild revenue_per_minute --from 2024-05-31T12:00

    One that is interrupted leaves the table unusable, which a worker says; run it again, it begins anew.
    """

    options: ClassVar[list[Any]] = [
        argument("table"),
        option(
            "--from",
            "since",
            type=_Time(),
            help="count the events whose records have this time or a later one (UTC, unless it has an offset). A "
            "window that began before has only what came since. Default: all that the topic still has.",
        ),
    ]

    def __call__(self, *_: Any, **__: Any) -> None:
        """Run it outside of Faust's own worker; ends the process."""
        sys.exit(run(self.app, **self.kwargs))


def run(app: Any, table: str, since: int | None) -> int:
    """Rebuild, and say how it goes; the exit code."""
    tables = {item.name: item for item in app.columnar_tables}
    if table not in tables:
        known = ", ".join(sorted(tables)) or "none"
        sys.stderr.write(f"headrace: there is no table {table!r}; there are: {known}\n")
        return 2
    line = _Progress(table)
    try:
        with ExitStack() as stack:
            stack.enter_context(line)
            done = _rebuild(app, tables[table], since, line, stack)
    except (BrokerError, RebuildError, SlotError, StateRefusedError, TopicError) as error:
        sys.stderr.write(f"headrace: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"headrace: interrupted; run it again, the table {table} is not whole\n")
        return 130
    line.say(f"rebuilt {table} from {done.events:,} events; start the workers")
    return 0


def _rebuild(
    app: Any, table: Table, since: int | None, line: _Progress, stack: ExitStack
) -> Rebuilt:
    settings: Settings = app.settings
    servers = settings.broker
    if not servers:
        broker = stack.enter_context(ensure_broker(settings.data_dir, log=line.say))
        servers = broker.bootstrap_servers
    folder = settings.data_dir / "state" / settings.app_id
    try:
        slot = WorkerSlot.take(folder, f"rebuild-{table.name}")
    except SlotError:
        raise RebuildError(f"another rebuild of {table.name} runs on this machine") from None
    stack.callback(slot.release)
    stack.callback(shutil.rmtree, slot.path / "rocksdb", ignore_errors=True)
    shutil.rmtree(slot.path / "rocksdb", ignore_errors=True)
    store = open_store(
        slot.path / "rocksdb",
        block_cache_mb=settings.rocksdb_block_cache_mb,
        write_buffer_mb=settings.rocksdb_write_buffer_mb,
    )
    stack.callback(store.close)
    counts = ensure_topics(
        servers,
        needs(settings.app_id, app.catalogue, [table]),
        partitions=settings.topic_partitions,
        replication=settings.topic_replication,
    )
    warm_up()
    agents: dict[str, type[Event]] = {
        item.name: table.fed_by
        for item in app.columnar_agents
        if table.fed_by is not None and item.cls is table.fed_by
    }
    found = sources(settings.app_id, app.catalogue, [table], agents, app.limits)
    return TableRebuild(
        servers,
        settings.app_id,
        table,
        found[table.topic],
        app.columnar_agents,
        store,
        counts,
        app.sizes,
        Pace(
            settings.checkpoint_delta_mb_max << 20,
            settings.fetch_partition_kb_max << 10,
            settings.transaction_timeout_ms,
            settings.session_timeout_ms / 1000,
        ),
        told=line.say,
        progress=line.show,
    ).run(since)


class _Progress:
    """A bar on a terminal, a line now and then anywhere else."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._terminal = sys.stdout.isatty()
        self._began = time.monotonic()
        self._shown_at = 0.0
        self._open = False

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def say(self, text: str) -> None:
        """A line of its own."""
        self._end()
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def show(self, done: int, total: int) -> None:
        """So many records are read, of so many."""
        now = time.monotonic()
        if done == 0:
            self._began = now
        interval = _BAR_INTERVAL_S if self._terminal else _LINE_INTERVAL_S
        if now - self._shown_at < interval and done < total:
            return
        self._shown_at = now
        text = self._text(done, total, now - self._began)
        if self._terminal:
            filled = _BAR_WIDTH * done // total if total else _BAR_WIDTH
            width = shutil.get_terminal_size().columns - 1
            bar = f"[{'#' * filled}{'-' * (_BAR_WIDTH - filled)}] {text}"
            sys.stdout.write(f"\r{bar[:width]}\x1b[K")
            self._open = True
        else:
            sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def _text(self, done: int, total: int, seconds: float) -> str:
        percent = 100 * done // total if total else 100
        rate = done / seconds if seconds > 0 else 0.0
        left = f", {(total - done) / rate:,.0f} s left" if rate and done < total else ""
        return f"{self._table}: {percent} % of {total:,} records, {rate:,.0f}/s{left}"

    def _end(self) -> None:
        if self._open:
            sys.stdout.write("\n")
            self._open = False

"""The driver for users' own tests: agents and tables over events in memory, in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import polars as pl

from app.engine import names
from app.engine.duration import milliseconds
from app.engine.language.table import Table
from app.engine.processing.agent import AgentFunction, AgentRunner
from app.engine.processing.checkpoint import Record
from app.engine.processing.dead_letter import PREFIX
from app.engine.processing.source import Limits
from app.engine.state.sizes import Sizes
from app.engine.windows import WINDOW_START
from app.events.catalogue import Catalogue
from app.events.event import Event, event_type
from app.testing.memory_log import MemoryLog, StoredRecord
from app.testing.memory_store import MemoryStore
from app.testing.memory_worker import MemoryWorker
from app.testing.moment import Moment, milliseconds_of

if TYPE_CHECKING:
    from app.worker import Headrace

SomeEvent = TypeVar("SomeEvent", bound=Event)
START = "2024-01-01T12:00:00"
"""When a test's time begins, unless it says otherwise."""
_SENT = b"test"


@dataclass(frozen=True)
class DeadLetter:
    """An event that could not be read (stage "decode") or that an agent failed on (stage "agent")."""

    stage: str
    reason: str
    topic: str
    partition: int
    offset: int
    attempts: int
    agent: str | None
    traceback: str | None
    key: bytes | None
    value: bytes | None


class Driver:
    """Runs agents and tables without a broker: the worker's own engine, over a log in memory.

        with Driver(tables=[revenue_per_minute], agents=[flag_large_orders]) as driver:
            driver.send(order, at="12:00:05")
            assert driver.emitted(LargeOrder) == [LargeOrder(order_id="1", amount=1500.0)]
            driver.advance("2m")
            assert len(driver.rows(revenue_per_minute)) == 1

    What is sent waits until something is read or `checkpoint` is called; then all of it is processed,
    derived events and repartitioned tables included, and published. Agents run in an event loop of the
    driver's own, so it is for ordinary test functions, not for coroutines.

    partitions: of every topic. start: where the test's time begins. What a real broker and a real worker
    add (faults, rebalancing, timing, idle partitions) is not here.
    """

    def __init__(
        self,
        *,
        tables: Iterable[Table] = (),
        agents: Iterable[AgentFunction | AgentRunner] = (),
        partitions: int = 1,
        start: Moment = START,
        limits: Limits | None = None,
        sizes: Sizes | None = None,
    ) -> None:
        self._tables = list(tables)
        self._agents = [_runner(agent) for agent in agents]
        self._limits = limits
        self._sizes = sizes
        self._types = _types_of(self._tables, self._agents)
        self._start = self._now = milliseconds_of(start, 0)
        self._log = MemoryLog(partitions)
        self._store = MemoryStore()
        self._worker = self._new_worker()

    @classmethod
    def of(cls, app: Headrace, **options: Any) -> Driver:
        """A driver for all tables and agents of an app."""
        return cls(tables=app.columnar_tables, agents=app.columnar_agents, **options)

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worker.close()

    @property
    def now(self) -> int:
        """The test's time (ms): that of the latest event sent, or later after `advance`."""
        return self._now

    def send(self, *events: Event, at: Moment | None = None, partition: int | None = None) -> None:
        """Send events, as a producer with the CloudEvents envelope does.

        at: their record timestamp; None: `now`. partition: where to put them; None: by their key.
        """
        for event in events:
            definition = event_type(type(event))
            self._know(type(event))
            headers: list[tuple[str, bytes | None]] = [
                ("ce_specversion", b"1.0"),
                ("ce_id", str(self._log.end(definition.topic, 0)).encode()),
                ("ce_type", definition.name.encode()),
                ("ce_source", _SENT),
                ("content-type", b"application/json"),
            ]
            key = None if definition.key is None else _key(getattr(event, definition.key))
            value = msgspec.json.encode(event)
            self.send_raw(
                definition.topic, value, key=key, headers=headers, at=at, partition=partition
            )

    def send_raw(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        at: Moment | None = None,
        partition: int | None = None,
    ) -> None:
        """Send one record as it is. ValueError: nobody reads the topic."""
        if topic not in self._worker.processor.topics:
            raise ValueError(
                f"no table or agent of this driver reads the topic {topic!r}; "
                f"there are: {', '.join(self._worker.processor.topics)}"
            )
        time_ms = self._now if at is None else milliseconds_of(at, self._start)
        self._now = max(self._now, time_ms)
        self._log.append([Record(topic, key, value, headers, partition, time_ms)])

    def advance(self, duration: str | int) -> None:
        """Let time pass ("2m", or ms): event time goes on in all partitions, so that windows close."""
        self._worker.settle()
        self._now += milliseconds(duration)
        self._worker.advance(self._now)
        self._worker.settle()

    def checkpoint(self) -> None:
        """Process and publish all that was sent; the methods that read do so themselves."""
        self._worker.settle()

    def emitted(self, cls: type[SomeEvent]) -> list[SomeEvent]:
        """All derived events of a type since the start, in the order in which they were published."""
        definition = event_type(cls)
        return [
            msgspec.json.decode(record.value or b"", type=cls)
            for record in self._read(definition.topic)
            if record.header("ce_type") == definition.name
            and record.header("ce_source") != _SENT.decode()
        ]

    def rows(self, table: Table | str) -> pl.DataFrame:
        """All rows of a table: windows that are open, and closed ones that are still kept.

        Columns: window_start and window_end (ms), if it has windows, the key, the table's columns; sorted
        by window and key.
        """
        self._worker.settle()
        name = table if isinstance(table, str) else table.name
        definition = self._worker.processor.tables[name]
        frames = [
            self._worker.reader.window(name, start) for start in self._worker.reader.windows(name)
        ]
        rows = pl.concat([pl.DataFrame(schema=definition.row_schema), *frames])
        start = (WINDOW_START,) if definition.windowed else ()
        return rows.sort(*start, *definition.by)

    def dead_letters(self) -> list[DeadLetter]:
        """All events since the start that could not be handled, in the order in which that was found."""
        return [
            _dead_letter(item) for item in self._read(names.dead_letter_topic(self._worker.app_id))
        ]

    def late(self, table: Table | str) -> list[Event]:
        """The events that came after their window of this table had closed."""
        name = table if isinstance(table, str) else table.name
        source = self._worker.processor.tables[name].source
        return [
            msgspec.json.decode(item.value or b"", type=source)
            for item in self._read(names.late_topic(self._worker.app_id, name))
        ]

    def records(self, topic: str) -> list[StoredRecord]:
        """All committed records of any topic, with keys and headers."""
        return self._read(topic)

    def restart(self, *, lose_store: bool = False) -> None:
        """Kill the worker and start another one, which restores its state and reads on.

        lose_store: its disk is gone too, and the state comes from the changelogs alone.
        """
        self._worker.close()
        if lose_store:
            self._store = MemoryStore()
        self._worker = self._new_worker()

    def _read(self, topic: str) -> list[StoredRecord]:
        self._worker.settle()
        return self._log.read(topic)

    def _new_worker(self) -> MemoryWorker:
        return MemoryWorker(
            self._log,
            self._store,
            Catalogue(self._types),
            self._tables,
            self._agents,
            limits=self._limits,
            sizes=self._sizes,
        )

    def _know(self, cls: type[Event]) -> None:
        """Have the type in the catalogue; the worker's is fixed, so another type needs another worker."""
        if cls not in self._types:
            self._worker.settle()
            self._types.append(cls)
            self.restart()


def _runner(agent: AgentFunction | AgentRunner) -> AgentRunner:
    """A runner of this driver's own."""
    runner = agent if isinstance(agent, AgentRunner) else getattr(agent, "__agent__", None)
    if not isinstance(runner, AgentRunner):
        raise TypeError(f"{agent!r} is no agent: decorate it with @app.agent(EventType)")
    return runner.fresh()


def _types_of(tables: Iterable[Table], agents: Iterable[AgentRunner]) -> list[type[Event]]:
    types = [agent.cls for agent in agents]
    for table in tables:
        types += [table.source] if table.emit is None else [table.source, table.emit]
    return list(dict.fromkeys(types))


def _key(value: Any) -> bytes | None:
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)


def _dead_letter(record: StoredRecord) -> DeadLetter:
    def fact(name: str) -> str:
        return record.header(PREFIX + name) or ""

    return DeadLetter(
        stage=fact("stage"),
        reason=fact("reason"),
        topic=fact("topic"),
        partition=int(fact("partition")),
        offset=int(fact("offset")),
        attempts=int(fact("attempts")),
        agent=record.header(f"{PREFIX}agent"),
        traceback=record.header(f"{PREFIX}traceback"),
        key=record.key,
        value=record.value,
    )

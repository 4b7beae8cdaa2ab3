"""`Headrace` is a Faust app whose agents and tables are columnar; this is how Faust starts, leads and ends it."""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
from collections.abc import AsyncIterator, Callable, Iterable
from types import ModuleType
from typing import Any, NoReturn, TypeVar

import faust
import structlog
from faust.transport.drivers import TRANSPORTS
from faust.types import TP
from yarl import URL

from app.codecs.record_batch import Fetch
from app.engine.language.row_sizes import check_row_sizes
from app.engine.language.table import Table, by_name
from app.engine.processing.agent import AgentFunction, AgentRunner
from app.engine.processing.offset_note import check_offset_notes
from app.engine.processing.processor import Processor
from app.engine.processing.source import Limits
from app.engine.processing.work import TopicPartition
from app.engine.state.sizes import Sizes
from app.engine.state.store import StateRefusedError
from app.events.catalogue import Catalogue, import_all
from app.events.event import Event
from app.group import advertised_host, web_address
from app.kafka.columnar_topics import columnar
from app.kafka.embedded.broker import BrokerError, ensure_broker
from app.kafka.fetching.answers import FETCH_BYTES_MAX
from app.kafka.fetching.faust_consumer import FaustConsumer
from app.kafka.group.faust_assignor import Assignor
from app.kafka.topics import (
    RECORD_BYTES_MAX,
    PartitionsChangedError,
    TopicError,
    TopicNeed,
    ensure_topics,
    needs,
)
from app.monitoring import metrics
from app.monitoring.faust_worker import Worker, do_not_start
from app.parts import Parts
from app.settings import Settings
from app.state.open_store import open_store
from app.state.rocksdb_store import DamagedStoreError, FullDiskError
from app.state.slot import SlotError, WorkerSlot
from app.web.faust_web import install
from app.web.free_port import free_port
from app.web.limits import WebLimits

log = structlog.get_logger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])

_FETCH_BYTES_MIN = 256 << 10
"""The broker waits for that much, or for HEADRACE_FETCH_WAIT_MS_MAX: many small fetches cost more than they gain."""
_REQUEST_TIMEOUT_S = 90.0

TRANSPORTS.aliases["headrace"] = "app.kafka.fetching.transport:Transport"


class Headrace(faust.App):  # type: ignore[misc]
    """A Faust app with columnar agents and tables.

    `@app.agent(EventType)` makes a columnar agent; with a Faust topic or channel it is Faust's own.
    """

    engine_name = "headrace.engine"
    """Of the one Faust agent that reads all columnar topics."""

    def __init__(self, settings: Settings, *, tables: Iterable[Table] = ()) -> None:
        self.settings = settings
        self.columnar_tables: list[Table] = list(tables)
        self.columnar_agents: list[AgentRunner] = []
        self.parts: Parts | None = None
        self._slot: WorkerSlot | None = None
        self._partition_counts: dict[str, int] = {}
        self._free_port = free_port(settings.web_host, settings.web_port)
        super().__init__(
            settings.app_id,
            broker="headrace://127.0.0.1:9092",
            store="memory://",
            datadir=str(settings.data_dir / "faust"),
            topic_partitions=settings.topic_partitions,
            topic_replication_factor=settings.topic_replication,
            topic_disable_leader=True,
            consumer_auto_offset_reset=settings.read_from,
            consumer_max_fetch_size=settings.fetch_partition_kb_max << 10,
            broker_session_timeout=settings.session_timeout_ms / 1000,
            # Faust does not start if an answer is waited for less long than that
            broker_request_timeout=max(_REQUEST_TIMEOUT_S, settings.session_timeout_ms / 1000),
            broker_heartbeat_interval=settings.heartbeat_interval_ms / 1000,
            Worker=Worker,
            PartitionAssignor=Assignor,
            web="headrace://",
            web_enabled=settings.web_enabled,
            web_bind=settings.web_host,
            web_host=settings.web_host,
            web_port=self._free_port,
            stream_recovery_delay=0.0,
        )
        if not settings.web_enabled:  # `faust worker` would set it to its own `--with-web`
            self.boot_strategy.enable_web = False
        self.fetch_bytes_max = settings.fetch_buffer_mb << 20
        self.fetch_options = {
            "_fetch_max_wait_ms": settings.fetch_wait_ms_max,
            "_fetch_min_bytes": _FETCH_BYTES_MIN,
            "_fetch_max_bytes": FETCH_BYTES_MAX,
            "_isolation_level": "read_committed",
        }
        self.on_partitions_assigned.connect(self._on_assigned)
        self.on_partitions_revoked.connect(self._on_revoked)
        self.on_before_shutdown.connect(self._on_shutdown)

    def agent(
        self, channel: Any = None, *, name: str | None = None, **options: Any
    ) -> Callable[[Function], Function]:
        """Make an agent of an async function; see the class."""
        if inspect.isfunction(channel):
            raise TypeError(
                f"agent {channel.__name__!r} has no event type: write @app.agent(EventType)"
            )
        if not (isinstance(channel, type) and issubclass(channel, Event)):
            decorator: Callable[[Function], Function] = super().agent(channel, name=name, **options)
            return decorator

        def register(function: Function) -> Function:
            self._add_agent(channel, function, name or function.__name__)
            return function

        return register

    def _add_agent(self, cls: type[Event], function: AgentFunction, name: str) -> None:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(
                f"agent {name!r} must be an `async def` with a loop `async for batch in stream`"
            )
        if any(agent.name == name for agent in self.columnar_agents):
            raise ValueError(f"two agents are named {name!r}; give one of them another name=")
        runner = AgentRunner(
            name,
            cls,
            function,
            attempts_max=self.settings.agent_attempts_max,
            event_bytes_max=self.settings.event_kb_max << 10,
        )
        self.columnar_agents.append(runner)
        function.__agent__ = runner  # type: ignore[attr-defined] # by which app.testing knows it

    def load(self, events: Iterable[type[Event]], *packages: ModuleType) -> None:
        """Find the tables and agents of these packages, and put the engine together."""
        for module in (module for package in packages for module in import_all(package)):
            self.columnar_tables += [
                item for item in vars(module).values() if isinstance(item, Table)
            ]
        self.columnar_tables = list(by_name(self.columnar_tables).values())
        settings = self.settings
        self.catalogue = Catalogue(events)
        check_offset_notes(self.columnar_tables)
        check_row_sizes(self.columnar_tables, settings.event_kb_max << 10, RECORD_BYTES_MAX)
        self.processor = Processor(
            settings.app_id,
            self.catalogue,
            self.columnar_tables,
            {agent.name: agent.cls for agent in self.columnar_agents},
            limits=self.limits,
            sizes=self.sizes,
        )
        topics = self.processor.topics
        columnar.update(topics)
        if topics:
            source = self.topic(
                *topics,
                key_type=None,
                value_type=None,
                key_serializer="raw",
                value_serializer="raw",
                acks=False,
            )
            super().agent(source, name=self.engine_name)(self._pump)

    @property
    def limits(self) -> Limits:
        """What events may be."""
        settings = self.settings
        return Limits(settings.event_kb_max << 10, settings.json_depth_max, settings.check_crc)

    @property
    def sizes(self) -> Sizes:
        """Of the tables' state."""
        settings = self.settings
        return Sizes(
            settings.segment_kb_max << 10,
            settings.segments_per_window_max,
            settings.checkpoint_merge_mb_max << 20,
        )

    async def _pump(self, fetches: AsyncIterator[Fetch]) -> None:
        assert self.parts is not None
        await self.parts.runner.pump(fetches)

    async def on_first_start(self) -> None:
        """Start or find the broker, make the topics, open the state; without them the process ends."""
        try:
            await self._first_start()
        except PartitionsChangedError as error:
            _refuse(error)
        except (BrokerError, SlotError, StateRefusedError, TopicError) as error:
            do_not_start(str(error))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            do_not_start(f"the disk of {self.settings.data_dir} is full: free some room")

    async def _first_start(self) -> None:
        settings = self.settings
        loop = asyncio.get_running_loop()
        # of this application alone: another one's tables may have the same names
        folder = settings.data_dir / "state" / settings.app_id
        self._slot = WorkerSlot.take(folder, settings.worker_id)
        servers = settings.broker
        if not servers:
            self._broker = await loop.run_in_executor(None, ensure_broker, settings.data_dir)
            servers = self._broker.bootstrap_servers
        self.bootstrap_servers = servers
        urls = [URL(f"headrace://{server}") for server in servers.split(",")]
        self.transport.url = self.producer_transport.url = urls
        self.conf.consumer_group_instance_id = f"{settings.app_id}-{self._slot.id}"
        await loop.run_in_executor(None, self._prepare, servers)
        await super().on_first_start()

    def _prepare(self, servers: str) -> None:
        """Make topics and open the store (blocks)."""
        settings = self.settings
        assert self._slot is not None
        self._partition_counts = ensure_topics(
            servers,
            [
                *needs(settings.app_id, self.catalogue, self.columnar_tables),
                *self._ordinary_topics(),
            ],
            partitions=settings.topic_partitions,
            replication=settings.topic_replication,
        )
        self._store = open_store(
            self._slot.path / "rocksdb",
            block_cache_mb=settings.rocksdb_block_cache_mb,
            write_buffer_mb=settings.rocksdb_write_buffer_mb,
        )

    def _ordinary_topics(self) -> list[TopicNeed]:
        """The topics of ordinary Faust agents and tables: made before Faust assigns partitions, so that a
        fresh start does not pass over them."""
        channels = [agent.channel for agent in self.agents.values()]
        wanted = [
            TopicNeed(name, partitions=channel.partitions)
            for channel in channels
            if isinstance(channel, faust.Topic)
            for name in channel.topics
            if name not in columnar
        ]
        changelogs = [table.changelog_topic for table in self.tables.values()]
        compact = {"cleanup.policy": "compact"}
        return wanted + [
            TopicNeed(topic.get_topic_name(), partitions=topic.partitions, config=compact)
            for topic in changelogs
        ]

    async def on_start(self) -> None:
        """Make the parts, on the loop that they will run on."""
        await super().on_start()
        if self.parts is None and not self.client_only and not self.producer_only:
            assert self._slot is not None
            self._consumer_control = FaustConsumer(self)
            self.parts = parts = Parts(
                self.settings,
                self.bootstrap_servers,
                self._slot.id,
                self.processor,
                self._store,
                self.columnar_agents,
                self._consumer_control,
                self._partition_counts,
                self._fatal,
            )
            if self.settings.web_enabled:
                self._serve(parts)
            metrics.announce_build()
            for task in parts.tasks():
                self.add_future(task)

    def _serve(self, parts: Parts) -> None:
        """Have Faust's web server show the tables."""
        if self.conf.web_port == self._free_port != self.settings.web_port:
            log.warning("web.port_taken", wanted=self.settings.web_port, used=self.conf.web_port)
        install(
            self,
            parts.reader,
            local=parts.reader.local,
            reads=lambda name: self.processor.tables[name].group,
            hosts={advertised_host(self.settings)},
            metrics=metrics.render,
            health=parts.vitals.health,
            ready=parts.vitals.ready,
            limits=WebLimits(
                page_rows=self.settings.web_page_rows_max,
                view_rows=self.settings.web_view_rows_max,
                live_views=self.settings.web_live_views_max,
            ),
        )

    async def on_started_init_extra_services(self) -> None:
        """The last step before the worker says that it is ready: it is when its tables are restored."""
        await super().on_started_init_extra_services()
        if self.parts is not None:
            await self.wait_for_stopped(self.parts.holdings.settled)

    @property
    def web_address(self) -> str:
        """Where other workers reach this one's web server; empty: it has none."""
        served = self.conf.web_enabled and self.boot_strategy.enable_web is not False
        return web_address(self.settings, int(self.conf.web_port)) if served else ""

    def _on_assigned(self, _app: Any, assigned: set[TP], **__: Any) -> None:
        """At once, so that nothing is published between the two steps."""
        coordinator = self.consumer._thread.coordinator
        log.info("partitions.assigned", generation=coordinator.generation, partitions=len(assigned))
        self._consumer_control.joined(coordinator.generation, coordinator.member_id)
        assert self.parts is not None
        self.parts.holdings.follow(
            _columnar(assigned),
            _columnar(self.assignor.leaving),
            _columnar(self.assignor.standing_by),
            unbroken=coordinator.unbroken,
        )

    async def _fatal(self, error: BaseException) -> None:
        """Nothing can go on after this."""
        if isinstance(error, StateRefusedError):
            _refuse(error)
        await self.crash(error)

    def replaced(self, web: str) -> NoReturn:
        """Another process, with this web address, has joined the group under this one's name. Call it in any thread."""
        assert self._slot is not None
        other = f"another worker ({web})" if web else "another worker"
        _end(
            "worker.replaced",
            f"{other} has joined the group as {self._slot.id!r}: give each its own HEADRACE_WORKER_ID",
            os.EX_CONFIG,
        )

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        if self.parts is not None:
            await self.parts.holdings.release()
            self.consumer.forget()

    async def _on_shutdown(self, *_: Any, **__: Any) -> None:
        if self.parts is not None:
            await self.parts.close()


def _columnar(partitions: Iterable[TP]) -> set[TopicPartition]:
    return {(tp.topic, tp.partition) for tp in partitions if tp.topic in columnar}


def _refuse(error: StateRefusedError) -> NoReturn:
    restart_helps = isinstance(error, DamagedStoreError | FullDiskError)
    _end("worker.state_refused", str(error), os.EX_SOFTWARE if restart_helps else os.EX_CONFIG)


def _end(event: str, reason: str, exit_code: int) -> NoReturn:
    """End the process at once, with one line; nothing is lost."""
    log.critical(event, reason=reason, exit_code=exit_code)
    os._exit(exit_code)

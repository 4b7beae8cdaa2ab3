"""What the benchmarks share: a broker, the events' topic, child processes, progress bars."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.settings import load_settings
from benchmarks.child import ROOT, Child
from benchmarks.events import Workload
from benchmarks.scale import Scale
from benchmarks.topics import Topics

WRITE_SILENCE_S_MAX = 60.0
COMPILE_SILENCE_S_MAX = 180.0
_EVENTS_FOR_TWO_WRITERS = 1_000_000
_COMPILE = "from app.codecs.json_columns import warm_up; warm_up()"


@dataclass
class Workbench:
    """One run of the benchmarks.

    prefix: in the name of every topic and consumer group of the run.
    folder: for logs and the state of what is measured; removed at the end unless `keep_folder`.
    main_job_rate: events a second of the main job, as this run has measured it last.
    """

    servers: str
    scale: Scale
    prefix: str
    folder: Path
    topics: Topics
    progress: Progress
    workload: Workload
    keep_folder: bool = False
    main_job_rate: float | None = None
    _counts: dict[str, int] = field(default_factory=dict)
    _written: set[str] = field(default_factory=set)
    _compiled: set[Path] = field(default_factory=set)

    def child(
        self, name: str, arguments: Sequence[str], *, root: Path = ROOT, **environment: str
    ) -> Child:
        """Start a Python process that finds the broker and its own data folder."""
        number = self._counts[name] = self._counts.get(name, 0) + 1
        label = f"{name}-{number}"
        settings = {
            "HEADRACE_BROKER": self.servers,
            "HEADRACE_APP_ID": f"{self.prefix}.{label}",
            "HEADRACE_DATA_DIR": str(self.folder / label),
            "POLARS_MAX_THREADS": "1",
        }
        log_path = self.folder / f"{label}.log"
        return Child(arguments, {**settings, **environment}, log_path, root=root)

    @contextmanager
    def step(self, label: str, total: float) -> Iterator[Step]:
        """A progress bar for as long as the block runs."""
        task = self.progress.add_task(label, total=total)
        try:
            yield Step(self.progress, task)
        finally:
            self.progress.stop_task(task)

    def compile_kernels(self, root: Path = ROOT) -> None:
        """Fill numba's cache, which a fresh checkout lacks: that is installation, not the job."""
        if root not in self._compiled:
            compiling = self.child("compile", ["-c", _COMPILE], root=root)
            with self.step("compile", 1) as step, compiling as child:
                list(child.reports(COMPILE_SILENCE_S_MAX))
                step.advance(1)
            self._compiled.add(root)

    @property
    def read_while_rate(self) -> int:
        """Events a second that come while keys are read: half of what the main job does, the scale's at most."""
        most = self.scale.read_while_rate
        return most if self.main_job_rate is None else min(most, int(self.main_job_rate / 2))

    def tidy(self) -> None:
        """Delete the topics that child processes made: the broker would compact them beside the next measurement."""
        for name in self._counts:
            self.topics.delete(f"{self.prefix}.{name}-")

    def events_topic(self, workload: Workload | None = None) -> str:
        """The topic with a workload's events (the main job's), written on first use."""
        workload = workload or self.workload
        name = f"{self.prefix}.events-{workload.events}-{workload.keys}"
        if name not in self._written:
            self.topics.create(name, workload.partitions)
            self.write(name, workload)
            written = sum(self.topics.ends(name, workload.partitions))
            expected = workload.events + workload.partitions
            if written != expected:
                raise RuntimeError(f"{name} holds {written} events instead of {expected}")
            self._written.add(name)
        return name

    def write(self, topic: str, workload: Workload) -> None:
        """Write a workload's events to a topic; by two processes, if they are many."""
        count = 2 if workload.events >= _EVENTS_FOR_TWO_WRITERS else 1
        shares = [range(first, workload.partitions, count) for first in range(count)]
        with self.step("write events", workload.events) as step, ExitStack() as stack:
            size = [topic, str(workload.events), str(workload.keys)]
            writers = [
                stack.enter_context(
                    self.child(
                        "writer",
                        ["-m", "benchmarks.writer", *size, ",".join(map(str, share))],
                    )
                )
                for share in shares
            ]
            for writer in writers:
                for report in writer.reports(WRITE_SILENCE_S_MAX):
                    step.advance(report["done"])


@dataclass
class Step:
    """One progress bar."""

    progress: Progress
    task: object

    def advance(self, by: float) -> None:
        """So much more is done."""
        self.progress.advance(self.task, by)

    def at(self, done: float) -> None:
        """So much is done in all."""
        self.progress.update(self.task, completed=done)


@contextmanager
def open_workbench(scale: Scale) -> Iterator[Workbench]:
    """A workbench on HEADRACE_BROKER, or on the embedded broker; leaves no topic and no process."""
    prefix = f"headrace-bench-{uuid.uuid4().hex[:8]}"
    data_dir = load_settings().data_dir
    folder = data_dir / "bench" / prefix
    folder.mkdir(parents=True)
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with ExitStack() as stack:
        servers = _broker(stack, data_dir)
        topics = Topics(servers)
        stack.callback(topics.close)
        stack.callback(topics.delete, prefix)
        progress = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
        workload = Workload(scale.main_job_events)
        bench = Workbench(servers, scale, prefix, folder, topics, progress, workload)
        try:
            yield bench
        finally:
            if not bench.keep_folder:
                shutil.rmtree(folder, ignore_errors=True)


def _broker(stack: ExitStack, data_dir: Path) -> str:
    servers = load_settings().broker
    if servers:
        return servers
    from app.kafka.embedded.broker import ensure_broker

    return stack.enter_context(ensure_broker(data_dir)).bootstrap_servers

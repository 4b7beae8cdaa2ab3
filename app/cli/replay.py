"""`faust -A app replay`: dead letters go back into the topics that they came from, each of them once.

Importing this module registers the command.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import click
from confluent_kafka import KafkaException
from faust.cli.base import AppCommand, option

from app.cli.environment import ProgressLine
from app.engine.processing.replay import DeadLetter
from app.events.event import event_type
from app.kafka.embedded.broker import BrokerError, ensure_broker
from app.kafka.replays.replay import Replay, ReplayError
from app.kafka.topics import TopicError
from app.monitoring.reason_class import reason_class

_SHOWN_MAX = 40


class _Moment(click.ParamType):
    name = "TIME"

    def convert(self, value: Any, param: Any, context: Any) -> int:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-01-31T12:00 (UTC, or with a zone)", param)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1000)


@dataclass(frozen=True)
class Selection:
    """Which dead letters are meant; None: all."""

    app: Any
    topic: str | None
    type_name: str | None
    reason: str | None
    from_ms: int | None
    to_ms: int | None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether this one is to be replayed."""
        return self._meant(letter) and self.obstacle(letter) is None

    def obstacle(self, letter: DeadLetter) -> str | None:
        """Why a letter cannot be replayed at all."""
        if not letter.facts:
            return "not a dead letter of Headrace"
        if letter.topic not in self.app.processor.topics:
            return f"nobody reads the topic {letter.topic}"
        if letter.agent and letter.agent not in {item.name for item in self.app.columnar_agents}:
            return f"there is no agent {letter.agent} any more"
        return None

    def type_of(self, letter: DeadLetter) -> str:
        """The type that a record says it is, or its topic's plain one."""
        plain = (event_type(cls) for cls in self.app.catalogue.of_topic(letter.topic))
        default = next((item.name for item in plain if item.plain), "?")
        return letter.type_name or default

    def _meant(self, letter: DeadLetter) -> bool:
        return (
            self.topic in (None, letter.topic)
            and self.type_name in (None, self.type_of(letter))
            and (self.reason is None or self.reason in letter.facts.get("reason", ""))
            and (self.from_ms is None or letter.timestamp >= self.from_ms)
            and (self.to_ms is None or letter.timestamp < self.to_ms)
        )


class replay(AppCommand):  # type: ignore[misc]
    """Put dead letters back into the topics that they came from.

    What a schema or an agent could not handle, and now can: mend it, restart the workers, then replay.
    Each dead letter is replayed once: to start the command again, even after it was killed, adds nothing.
    One that fails again is a new dead letter, which can be replayed in its turn.

    The original bytes, key, headers and timestamp go back into the partition that they came from. What nobody
    could read is read by all; what an agent failed on is given to that agent alone, for the tables have counted
    it. Where its window has closed meanwhile, an event goes to the table's late topic.

    \b
    faust -A app replay --dry-run                  what there is, by topic, type and reason
    faust -A app replay --type order.placed        one event type
    faust -A app replay --from 2026-01-31T12:00    events of a time
    """

    options: ClassVar = [
        option("--topic", help="only what came from this topic"),
        option("--type", "type_name", help="only this event type"),
        option("--reason", help="only those whose reason contains this text"),
        option("--from", "from_ms", type=_Moment(), help="only events from this time on (UTC)"),
        option("--to", "to_ms", type=_Moment(), help="only events before this time (UTC)"),
        option("--dry-run", is_flag=True, help="say what would be replayed, and do nothing"),
    ]

    def __call__(self, *_: Any, **__: Any) -> None:
        """Replay; exit code 1 if that was not possible."""
        settings = self.app.settings
        dry = self.kwargs.pop("dry_run")
        selection = Selection(self.app, **self.kwargs)
        broker = None
        try:
            if not (servers := settings.broker):
                broker = ensure_broker(settings.data_dir)
                servers = broker.bootstrap_servers
            line = ProgressLine("reading the dead letters")
            work = Replay(
                servers,
                settings.app_id,
                selection.takes,
                transaction_timeout_ms=settings.transaction_timeout_ms,
                topic_replication=settings.topic_replication,
            )
            count = self._list(work, selection, line)
            if count and not dry:
                _replay(work, count)
        except (BrokerError, ReplayError, TopicError) as error:
            _fail(str(error))
        except KafkaException as error:
            _fail(f"no answer from Kafka: {error.args[0].str()}; is HEADRACE_BROKER right?")
        finally:
            if broker is not None:
                broker.close()

    def _list(self, work: Replay, selection: Selection, line: ProgressLine) -> int:
        """Say what there is; how many will be replayed."""
        groups: Counter[tuple[str, str, str, str]] = Counter()
        others, obstacles = 0, Counter[str]()
        for letter in work.left():
            if obstacle := selection.obstacle(letter):
                obstacles[obstacle] += 1
            elif selection.takes(letter):
                facts = letter.facts
                reason = reason_class(facts["stage"], facts["reason"])
                groups[letter.topic, selection.type_of(letter), letter.agent or "", reason] += 1
            else:
                others += 1
        count = groups.total()
        line.end(f"{count:,} to replay" if count else "none to replay")
        if count:
            rows = [[*group, f"{number:,}"] for group, number in groups.most_common(_SHOWN_MAX)]
            headers = ["topic", "type", "agent", "reason", "events"]
            self.say(
                self.tabulate(rows, headers=headers, title="Dead letters", wrap_last_row=False)
            )
        if others:
            self.say(f"{others:,} others are not selected")
        for obstacle, number in obstacles.most_common():
            self.say(f"{number:,} cannot be replayed: {obstacle}")
        return count


def _replay(work: Replay, count: int) -> None:
    line = ProgressLine(f"replaying {count:,} events")
    started = time.monotonic()
    try:
        work.run(lambda done: line.show(f"{done:,} ({done / count:.0%})"))
    except KeyboardInterrupt:
        line.end(f"stopped after {work.replayed:,}; start it again for what is left")
        sys.exit(130)
    except ReplayError:
        line.end(f"failed after {work.replayed:,}")
        raise
    line.end(f"{work.replayed:,} replayed in {time.monotonic() - started:.1f} s")


def _fail(reason: str) -> None:
    sys.stderr.write(f"headrace: {reason}\n")
    sys.exit(1)

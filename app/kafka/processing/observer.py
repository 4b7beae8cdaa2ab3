"""Tells the metrics what the runner does, and the log of dead letters."""

from __future__ import annotations

from app.codecs.record_batch import Fetch
from app.engine.processing.checkpoint import Checkpoint
from app.engine.processing.dead_letter import facts_of
from app.events.event import event_type
from app.monitoring import metrics
from app.monitoring.letters_told import LettersTold
from app.monitoring.reason_class import reason_class


class MetricsObserver:
    """Counts per fetch and per checkpoint, never per event."""

    def __init__(self, dead_letter_topic: str) -> None:
        self._dead_letter_topic = dead_letter_topic
        self._told = LettersTold()

    def fetched(self, fetch: Fetch, events: int, fallback: int) -> None:
        """A fetch has been staged; fallback: events that the JSON kernel left to msgspec."""
        labels: dict[str, str | int] = {"topic": fetch.topic, "partition": fetch.partition}
        metrics.EVENTS.add(events, **labels)
        metrics.FETCHED_BYTES.add(len(fetch.raw), **labels)
        metrics.BATCHES.add(1, **labels)
        metrics.FALLBACK_EVENTS.add(fallback, topic=fetch.topic)

    def checkpoint_done(self, checkpoint: Checkpoint, seconds: float, bytes_written: int) -> None:
        """A checkpoint has become the state."""
        metrics.CHECKPOINTS.add(1, outcome="committed")
        metrics.CHECKPOINT_SECONDS.observe(seconds)
        metrics.CHECKPOINT_BYTES.add(bytes_written)
        for table, late in checkpoint.late_events.items():
            metrics.LATE_EVENTS.add(late, table=table)
        for emission in checkpoint.emissions:
            metrics.DERIVED_EVENTS.add(len(emission.frame), type=event_type(emission.cls).name)
        for record in checkpoint.records if checkpoint.dead_letters else ():
            if record.topic == self._dead_letter_topic:
                facts = facts_of(record.headers)
                kind = reason_class(facts["stage"], facts["reason"])
                metrics.DEAD_LETTERS.add(1, topic=facts["topic"], reason=kind)
                self._told.add(kind, facts)

    def checkpoint_failed(self, reason: str) -> None:
        """A checkpoint has been aborted."""
        metrics.CHECKPOINTS.add(1, outcome="aborted")

    def restored(self, records: int, seconds: float) -> None:
        """Tables have been restored after a start or a rebalance."""
        metrics.REBALANCES.add(1)
        metrics.RESTORE_RECORDS.add(records)
        metrics.RESTORE_SECONDS.add(seconds)

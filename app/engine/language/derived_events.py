"""Derived events as the records that carry them: CloudEvents 1.0 in Kafka's binary mode."""

from __future__ import annotations

import numpy as np
import polars as pl

from app.codecs.json_writer import json_texts
from app.codecs.record_writer import RecordColumns
from app.codecs.texts import Texts
from app.engine.language.batch import Emission
from app.events.event import event_type


def derived_records(emission: Emission, app_id: str) -> RecordColumns:
    """One record per event: its JSON, its id and time, and the key by which it is placed."""
    event = event_type(emission.cls)
    return RecordColumns(
        event.topic,
        Texts.of(emission.frame[event.key].cast(pl.String)) if event.key else None,
        json_texts(emission.frame),
        np.maximum(emission.times.to_numpy(), 0),  # Kafka has no times before 1970
        Texts.of(emission.ids),
        [
            ("ce_specversion", b"1.0"),
            ("ce_type", event.name.encode()),
            ("ce_source", f"{app_id}/{emission.source}".encode()),
            ("content-type", b"application/json"),
        ],
        emission.id_prefix.encode(),
    )

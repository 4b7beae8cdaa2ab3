"""The catalogue: what is in it is rendered and documented, and nothing else can be emitted."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.monitoring import metrics
from app.monitoring.metric_kinds import Counter, Gauge, Histogram, Label, Metric
from app.monitoring.metrics import CATALOGUE, REGISTRY, document, render
from app.settings import ROOT

METRICS = [pytest.param(metric, id=name) for name, metric in CATALOGUE.items()]


def labels_of(metric: Metric[Any]) -> dict[str, str]:
    return {label.name: (label.choices or ("something",))[0] for label in metric.labels}


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None
    return found


@pytest.mark.parametrize("metric", METRICS)
def test_names_end_with_their_unit(metric: Metric[Any]) -> None:
    name = metric.name.removesuffix("_total")
    assert metric.kind != "counter" or metric.name.endswith("_total")
    if metric.unit in ("bytes", "seconds"):
        assert name.endswith(f"_{metric.unit}")
    assert "_ms" not in name, "Prometheus counts time in seconds"


@pytest.mark.parametrize("metric", METRICS)
def test_each_says_what_it_means(metric: Metric[Any]) -> None:
    assert metric.description.endswith(".")
    assert len(metric.description) > 30 or metric.name == "headrace_build_info"


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_emitted_is_rendered(metric: Metric[Any]) -> None:
    labels = labels_of(metric)
    if isinstance(metric, Counter):
        metric.add(2, **labels)
    elif isinstance(metric, Gauge):
        metric.set(2, **labels)
    elif isinstance(metric, Histogram):
        metric.observe(2, **labels)
    text = render().decode()
    families = list(text_string_to_metric_families(text))
    sample = f"{metric.name}_count" if isinstance(metric, Histogram) else metric.name
    found = {sample.name for family in families for sample in family.samples}
    assert sample in found


@pytest.mark.parametrize("metric", METRICS)
def test_other_labels_are_refused(metric: Metric[Any]) -> None:
    emit = getattr(metric, {"counter": "add", "gauge": "set", "histogram": "observe"}[metric.kind])
    with pytest.raises(ValueError, match=r"abel"):
        emit(1, **labels_of(metric), colour="red")


def test_choices_are_held() -> None:
    with pytest.raises(ValueError, match="outcome must be one of committed, aborted"):
        metrics.CHECKPOINTS.add(1, outcome="perhaps")


def test_choices_stand_at_zero_from_the_start() -> None:
    metric = Counter("x", "X.", unit="", labels=[Label("way", ("in", "out"))])
    (family,) = metric.collector.collect()
    assert {(sample.labels["way"], sample.value) for sample in family.samples} == {
        ("in", 0.0),
        ("out", 0.0),
    }


def test_a_counter_adds() -> None:
    metrics.EVENTS.add(3, topic="adds", partition=1)
    metrics.EVENTS.add(4, topic="adds", partition=1)
    assert value("headrace_events_total", topic="adds", partition="1") == 7


def test_a_gauge_forgets_its_series() -> None:
    metrics.LAG.set(5, topic="gone", partition=1)
    metrics.LAG.clear()
    sample = REGISTRY.get_sample_value("headrace_lag_events", {"topic": "gone", "partition": "1"})
    assert sample is None


def test_a_metric_outside_the_catalogue_is_not_rendered() -> None:
    Counter("smuggled", "Not in the catalogue.", unit="events").add(1)
    assert b"smuggled" not in render()


def test_the_catalogue_is_the_only_way_to_prometheus() -> None:
    allowed = {"metric_kinds.py", "metrics.py"}
    for folder in ("app", "agents", "tables"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name in allowed and path.parent.name == "monitoring":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                assert not any(name.startswith("prometheus") for name in names), path


def test_the_process_and_the_build_are_told() -> None:
    metrics.announce_build()
    text = render().decode()
    assert "process_resident_memory_bytes" in text
    assert "process_cpu_seconds_total" in text
    assert 'headrace_build_info{python="3.' in text


def test_the_docs_are_current() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == document(), (
        "write them anew: python -m app.monitoring.metrics > docs/metrics.md"
    )
